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
    require_beside("layer_norm", name, *t, x);
    if (t->dim(0) != x.dim(0))
      throw ShapeError("layer_norm", describe_pair("x", x, name, *t) + "; its length must equal x's rows");
  }
  const DType wide = accumulator_of(x.dtype());
  Normalised result{Tensor::empty_like(x), Tensor::empty({x.dim(1)}, wide, x.device()),
                    Tensor::empty({x.dim(1)}, wide, x.device())};
  visit_activation("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::layer_norm<T>(stream, dense_view<const T>(x), gain.data<acc_t<T>>(), bias.data<acc_t<T>>(), eps,
                           dense_view<T>(result.y), {result.mean.data<acc_t<T>>(), result.rstd.data<acc_t<T>>()});
  });
  return result;
}

Tensor gradient_x(const Tensor& x, const Tensor& dy, const Tensor& gain, const Tensor& mean, const Tensor& rstd) {
  const OpScope scope("layer_norm gradient");
  const Tensor dx = Tensor::empty_like(x);
  visit_activation("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::layer_norm_dx<T>(stream, dense_view<const T>(x), dense_view<const T>(dy), gain.data<acc_t<T>>(),
                              {mean.data<acc_t<T>>(), rstd.data<acc_t<T>>()}, dense_view<T>(dx));
  });
  return dx;
}

struct Gradients {
  Tensor x;  // undefined where it is not wanted
  Tensor gain;
  Tensor bias;
};

Gradients gradients_with_parameters(const Tensor& x, const Tensor& dy, const Tensor& gain, const Tensor& mean,
                                    const Tensor& rstd, bool wants_x) {
  const OpScope scope("layer_norm gradient");
  const Tensor dx = wants_x ? Tensor::empty_like(x) : Tensor();
  const Tensor dgain = Tensor::empty({x.dim(0)}, accumulator_of(x.dtype()), x.device());
  const Tensor dbias = Tensor::empty_like(dgain);
  const Tensor scratch = activation_scratch_for("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::layer_norm_dparams_scratch_bytes<T>(stream, dense_view<const T>(x));
  });
  visit_activation("layer_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = acc_t<T>;
    const kernels::ColumnStatistics<const A> statistics{mean.data<A>(), rstd.data<A>()};
    if (wants_x) {
      kernels::layer_norm_gradient<T>(stream, dense_view<const T>(x), dense_view<const T>(dy), gain.data<A>(),
                                      statistics, dense_view<T>(dx), dgain.data<A>(), dbias.data<A>(), scratch.raw());
    } else {
      kernels::layer_norm_dparams<T>(stream, dense_view<const T>(x), dense_view<const T>(dy), statistics,
                                     dgain.data<A>(), dbias.data<A>(), scratch.raw());
    }
  });
  return {dx, dgain, dbias};
}

}  // namespace

Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps) {
  return forward(x, gain, bias, eps).y;
}

Var layer_norm(const Var& x, const Var& gain, const Var& bias, double eps) {
  Normalised result = forward(x.data(), gain.data(), bias.data(), eps);
  return record(
      "layer_norm", result.y, {x, gain, bias},
      [x = x.data(), gain = gain.data(), mean = result.mean, rstd = result.rstd](const Tensor& dy, Grads& grads) {
        if (!grads.wants(1) && !grads.wants(2)) {
          grads.add(0, [&] { return gradient_x(x, dy, gain, mean, rstd); });
          return;
        }
        const Gradients gradients =
            gradients_with_parameters(x, dy, gain, mean, rstd, grads.wants(0));  // one pass for all
        if (grads.wants(0)) grads.add(0, gradients.x);
        grads.add(1, gradients.gain);
        grads.add(2, gradients.bias);
      });
}

}  // namespace lacuna
