#include "core/ops/pointwise.h"

#include "core/ops/checks.h"
#include "core/ops/reduce.h"
#include "core/visit.h"
#include "kernels/pointwise/pointwise.h"

namespace lacuna {
namespace {

Tensor binary(const char* op, kernels::Binary kind, const Tensor& a, const Tensor& b) {
  const OpScope scope(op);
  require_same_shape(op, "a", a, "b", b);
  const Tensor out = Tensor::empty_like(a);
  visit_float(op, a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::binary<T>(stream, kind, a.data<T>(), b.data<T>(), out.data<T>(), a.numel());
  });
  return out;
}

const char* name_of(Activation kind) {
  return kind == Activation::relu ? "relu" : kind == Activation::gelu ? "gelu" : "identity";
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) { return binary("add", kernels::Binary::add, a, b); }

Var add(const Var& a, const Var& b) {
  return record("add", add(a.data(), b.data()), {a, b}, [](const Tensor& dc, Grads& grads) {
    grads.add(0, dc);
    grads.add(1, dc);
  });
}

Tensor sub(const Tensor& a, const Tensor& b) { return binary("sub", kernels::Binary::sub, a, b); }

Var sub(const Var& a, const Var& b) {
  return record("sub", sub(a.data(), b.data()), {a, b}, [](const Tensor& dc, Grads& grads) {
    grads.add(0, dc);
    grads.add(1, [&] { return scale(dc, -1); });
  });
}

Tensor mul(const Tensor& a, const Tensor& b) { return binary("mul", kernels::Binary::mul, a, b); }

Var mul(const Var& a, const Var& b) {
  return record("mul", mul(a.data(), b.data()), {a, b}, [a = a.data(), b = b.data()](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return mul(dc, b); });
    grads.add(1, [&] { return mul(dc, a); });
  });
}

Tensor scale(const Tensor& a, double factor) {
  const OpScope scope("scale");
  require_defined("scale", "a", a);
  const Tensor out = Tensor::empty_like(a);
  visit_float("scale", a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::scale<T>(stream, a.data<T>(), factor, out.data<T>(), a.numel());
  });
  return out;
}

Var scale(const Var& a, double factor) {
  return record("scale", scale(a.data(), factor), {a}, [factor](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return scale(dc, factor); });
  });
}

Tensor activation(const Tensor& a, Activation kind) {
  const OpScope scope(name_of(kind));
  require_defined(name_of(kind), "a", a);
  const Tensor out = Tensor::empty_like(a);
  visit_float(name_of(kind), a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::activation<T>(stream, kind, a.data<T>(), out.data<T>(), a.numel());
  });
  return out;
}

Var activation(const Var& a, Activation kind) {
  const Tensor out = activation(a.data(), kind);
  // relu keeps its output, which the next op most often keeps too; its input can then be freed.
  const Tensor saved = kind == Activation::gelu ? a.data() : out;
  return record(name_of(kind), out, {a}, [saved, kind](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return activation_gradient_over(saved, dc, kind); });
  });
}

namespace {

void activation_gradient_into(const Tensor& dx, const Tensor& saved, const Tensor& dc, Activation kind) {
  require_same_shape("activation_gradient", "saved", saved, "dc", dc);
  visit_float("activation_gradient", dc, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::activation_gradient<T>(stream, kind, saved.data<T>(), dc.data<T>(), dx.data<T>(), dc.numel());
  });
}

}  // namespace

Tensor activation_gradient(const Tensor& saved, const Tensor& dc, Activation kind) {
  if (kind == Activation::none) return dc;
  const OpScope scope("activation_gradient");
  const Tensor dx = Tensor::empty_like(dc);
  activation_gradient_into(dx, saved, dc, kind);
  return dx;
}

Tensor activation_gradient_over(const Tensor& saved, const Tensor& dc, Activation kind) {
  if (kind == Activation::none) return dc;
  const OpScope scope("activation_gradient");
  const Tensor dx = reuse_or_empty(dc);
  activation_gradient_into(dx, saved, dc, kind);
  return dx;
}

Tensor relu(const Tensor& a) { return activation(a, Activation::relu); }
Var relu(const Var& a) { return activation(a, Activation::relu); }
Tensor gelu(const Tensor& a) { return activation(a, Activation::gelu); }
Var gelu(const Var& a) { return activation(a, Activation::gelu); }

Tensor add_bias(const Tensor& x, const Tensor& bias) {
  const OpScope scope("add_bias");
  require_rank("add_bias", "x", x, 2);
  require_defined("add_bias", "bias", bias);
  require_bias("add_bias", bias, x, x.dim(0));
  const Tensor out = Tensor::empty_like(x);
  visit_float("add_bias", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const std::int64_t m = x.dim(0), n = x.dim(1);
    kernels::apply_epilogue<T>(stream, {x.data<T>(), m, n, n}, {bias.data<T>(), Activation::none},
                               {out.data<T>(), m, n, n});
  });
  return out;
}

Var add_bias(const Var& x, const Var& bias) {
  return record("add_bias", add_bias(x.data(), bias.data()), {x, bias}, [](const Tensor& dc, Grads& grads) {
    grads.add(0, dc);
    grads.add(1, [&] { return sum_columns(dc); });
  });
}

void accumulate(Tensor& into, const Tensor& gradient) {
  if (!into.defined()) {
    into = gradient;
    return;
  }
  if (!into.is_unique()) {  // someone else holds these numbers and must not see them change
    into = binary("accumulate", kernels::Binary::add, into, gradient);
    return;
  }
  const OpScope scope("accumulate");
  require_same_shape("accumulate", "into", into, "gradient", gradient);
  visit_float("accumulate", into, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::binary<T>(stream, kernels::Binary::add, into.data<T>(), gradient.data<T>(), into.data<T>(), into.numel());
  });
}

}  // namespace lacuna
