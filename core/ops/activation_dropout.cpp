#include "core/ops/activation_dropout.h"

#include <utility>

#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/row_parameter.h"
#include "core/visit.h"
#include "kernels/activation_dropout/activation_dropout.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "activation_dropout";

void check(const Tensor& x, const Tensor& bias, double p) {
  require_rank(kOp, "x", x, 2);
  if (bias.defined()) require_row_parameter(kOp, "bias", bias, x);
  if (!(p >= 0 && p < 1)) throw ValueError(kOp, "p is " + std::to_string(p) + "; it must be in [0, 1)");
}

struct Rule {
  Activation kind = Activation::none;
  double p = 0;
  RandomKey key;
  kernels::DropoutRule dropout() const { return kernels::dropout_rule(p, key.seed, key.sequence); }
};

/// Into `y`, which may be x.
void run(const Tensor& x, const Tensor& bias, const Rule& rule, const Tensor& y) {
  visit_activation(kOp, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = kernels::wide_t<T>;
    kernels::activation_dropout<T>(stream, {.m = x.dim(0),
                                            .n = x.dim(1),
                                            .x = x.data<T>(),
                                            .bias = bias.defined() ? bias.data<A>() : nullptr,
                                            .activation = rule.kind,
                                            .dropout = rule.dropout(),
                                            .y = y.data<T>()});
  });
}

BiasedGradient gradient(const Tensor& saved, const Tensor& bias, const Rule& rule, const Tensor& dy, bool with_bias) {
  const OpScope scope("activation_dropout gradient");
  const std::int64_t m = dy.dim(0), n = dy.dim(1);
  BiasedGradient result{reuse_or_empty(dy), {}};  // dy's last reader may overwrite it
  if (with_bias) result.dbias = Tensor::empty({m}, parameter_dtype(dy.dtype()), dy.device());
  const Tensor scratch = activation_scratch_for(kOp, dy, [&](auto stream, auto zero) {
    return with_bias ? kernels::activation_dropout_scratch_bytes<decltype(zero)>(stream, m, n) : std::size_t{0};
  });
  visit_activation(kOp, dy, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = kernels::wide_t<T>;
    kernels::activation_dropout_gradient<T>(stream,
                                            {.m = m,
                                             .n = n,
                                             .saved = saved.defined() ? saved.data<T>() : nullptr,
                                             .bias = bias.defined() ? bias.data<A>() : nullptr,
                                             .activation = rule.kind,
                                             .dropout = rule.dropout(),
                                             .dy = dy.data<T>(),
                                             .dx = result.dx.data<T>(),
                                             .dbias = with_bias ? result.dbias.data<A>() : nullptr},
                                            scratch.raw());
  });
  return result;
}

}  // namespace

Tensor activation_dropout(const Tensor& x, const Tensor& bias, Activation kind, double p, RandomKey key) {
  const OpScope scope(kOp);
  check(x, bias, p);
  const Tensor y = Tensor::empty_like(x);
  run(x, bias, {kind, p, key}, y);
  return y;
}

Var activation_dropout(Var x, const Var& bias, Activation kind, double p, RandomKey key) {
  const OpScope scope(kOp);
  const Tensor bias_data = bias.defined() ? bias.data() : Tensor();
  check(x.data(), bias_data, p);
  const Rule rule{kind, p, key};
  const Tensor y = kind != Activation::gelu && x.data().is_unique() ? x.data() : Tensor::empty_like(x.data());
  run(x.data(), bias_data, rule, y);
  const Tensor saved = kind == Activation::gelu ? x.data() : kind == Activation::relu ? y : Tensor();
  const Tensor kept_bias = kind == Activation::gelu ? bias_data : Tensor();
  return record(kOp, y, {std::move(x), bias}, [saved, kept_bias, rule](const Tensor& dy, Grads& grads) {
    const BiasedGradient gradients = gradient(saved, kept_bias, rule, dy, grads.wants(1));
    grads.add(0, gradients.dx);
    grads.add(1, gradients.dbias);
  });
}

BiasedGradient activation_bias_gradient(const Tensor& saved, const Tensor& dc, Activation kind, bool with_bias) {
  if (kind == Activation::none) return {dc, with_bias ? sum_columns(dc) : Tensor()};
  if (!with_bias) return {activation_gradient_over(saved, dc, kind), {}};
  require_rank("activation_bias_gradient", "dc", dc, 2);
  require_same_shape("activation_bias_gradient", "saved", saved, "dc", dc);
  return gradient(saved, {}, {.kind = kind}, dc, true);
}

}  // namespace lacuna
