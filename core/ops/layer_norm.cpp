#include "core/ops/layer_norm.h"

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/layer_norm/layer_norm.h"

namespace lacuna {
namespace {

struct Normalised {
  Tensor y;
  Tensor mean;  // [n]
  Tensor rstd;  // [n]
};

Normalised forward(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  const OpScope scope("layer_norm");
  require_rank("layer_norm", "x", x, 2);
  for (const auto& [name, t] : {std::pair{"gain", &gain}, std::pair{"bias", &bias}}) {
    require_rank("layer_norm", name, *t, 1);
    require_same_device_and_dtype("layer_norm", "x", x, name, *t);
    if (t->dim(0) != x.dim(0))
      throw ShapeError("layer_norm", describe_pair("x", x, name, *t) + "; its length must equal x's rows");
  }
  Normalised result{Tensor::empty_like(x), Tensor::empty({x.dim(1)}, x.dtype(), x.device()),
                    Tensor::empty({x.dim(1)}, x.dtype(), x.device())};
  visit_float("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::layer_norm<T>(stream, dense_view<const T>(x), gain.data<T>(), bias.data<T>(), eps, dense_view<T>(result.y),
                           {result.mean.data<T>(), result.rstd.data<T>()});
  });
  return result;
}

Tensor gradient_x(const Tensor& x, const Tensor& dy, const Tensor& gain, const Tensor& mean, const Tensor& rstd) {
  const OpScope scope("layer_norm gradient");
  const Tensor dx = Tensor::empty_like(x);
  visit_float("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::layer_norm_dx<T>(stream, dense_view<const T>(x), dense_view<const T>(dy), gain.data<T>(), {mean.data<T>(), rstd.data<T>()},
                              dense_view<T>(dx));
  });
  return dx;
}

struct ParameterGradients {
  Tensor gain;
  Tensor bias;
};

ParameterGradients gradient_parameters(const Tensor& x, const Tensor& dy, const Tensor& mean, const Tensor& rstd) {
  const OpScope scope("layer_norm gradient");
  const Tensor dgain = Tensor::empty({x.dim(0)}, x.dtype(), x.device());
  const Tensor dbias = Tensor::empty_like(dgain);
  const Tensor scratch = scratch_for("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::layer_norm_dparams_scratch_bytes<T>(stream, dense_view<const T>(x));
  });
  visit_float("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::layer_norm_dparams<T>(stream, dense_view<const T>(x), dense_view<const T>(dy), {mean.data<T>(), rstd.data<T>()},
                                   dgain.data<T>(), dbias.data<T>(), scratch.raw());
  });
  return {dgain, dbias};
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  return forward(x, gain, bias, eps).y;
}

Var layer_norm(const Var& x, const Var& gain, const Var& bias, double eps) {
  Normalised result = forward(x.data(), gain.data(), bias.data(), eps);
  return record("layer_norm", result.y, {x, gain, bias},
                [x = x.data(), gain = gain.data(), mean = result.mean, rstd = result.rstd](const Tensor& dy,
                                                                                           Grads& grads) {
    grads.add(0, [&] { return gradient_x(x, dy, gain, mean, rstd); });
    if (!grads.wants(1) && !grads.wants(2)) return;
    const ParameterGradients gradients = gradient_parameters(x, dy, mean, rstd);  // one pass for both
    grads.add(1, gradients.gain);
    grads.add(2, gradients.bias);
  });
}

}  // namespace lacuna
