#include "core/ops/batch_norm.h"

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/batch_norm/batch_norm.h"

namespace lacuna {
namespace {

struct Options {
  bool training;
  double momentum;
  double eps;
};

struct Normalised {
  Tensor y;
  Tensor mean;    // [c]
  Tensor invstd;  // [c]
};

Tensor reduction_scratch(const Tensor& x) {
  return scratch_for("batch_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::batch_norm_scratch_bytes<T>(stream, dense_view<const T>(x));
  });
}

void check(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
           const Tensor& running_var, bool training) {
  require_rank("batch_norm", "x", x, 2);
  for (const auto& [name, t] : {std::pair{"gain", &gain}, std::pair{"bias", &bias},
                                std::pair{"running_mean", &running_mean}, std::pair{"running_var", &running_var}}) {
    require_rank("batch_norm", name, *t, 1);
    require_same_device_and_dtype("batch_norm", "x", x, name, *t);
    if (t->dim(0) != x.dim(0))
      throw ShapeError("batch_norm", describe_pair("x", x, name, *t) + "; its length must equal x's rows");
  }
  if (training && x.dim(1) < 2)
    throw ShapeError("batch_norm", "x is " + describe(x) + "; training needs at least 2 values per channel");
}

Normalised forward(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                   const Tensor& running_var, const Options& options) {
  const OpScope scope("batch_norm");
  check(x, gain, bias, running_mean, running_var, options.training);
  Normalised result{Tensor::empty_like(x), Tensor::empty_like(gain), Tensor::empty_like(gain)};
  const Tensor scratch = options.training ? reduction_scratch(x) : Tensor();
  visit_float("batch_norm", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    T* mean = result.mean.data<T>();
    T* invstd = result.invstd.data<T>();
    if (options.training) {
      kernels::batch_norm_statistics<T>(stream, dense_view<const T>(x), options.eps,
                                        {running_mean.data<T>(), running_var.data<T>(), options.momentum},
                                        {mean, invstd}, scratch.raw());
    } else {
      kernels::batch_norm_frozen_statistics<T>(stream, x.dim(0), options.eps, running_mean.data<T>(),
                                               running_var.data<T>(), {mean, invstd});
    }
    kernels::batch_norm_apply<T>(stream, dense_view<const T>(x), {mean, invstd}, gain.data<T>(), bias.data<T>(),
                                 dense_view<T>(result.y));
  });
  return result;
}

void add_gradients(const Tensor& x, const Tensor& gain, const Tensor& mean, const Tensor& invstd, bool training,
                   const Tensor& dy, Grads& grads) {
  const OpScope scope("batch_norm gradient");
  Tensor dgain, dbias;
  // In training dx goes through the batch's statistics, whose gradient is made of dgain and dbias.
  if (grads.wants(1) || grads.wants(2) || (training && grads.wants(0))) {
    dgain = Tensor::empty_like(gain);
    dbias = Tensor::empty_like(gain);
    const Tensor scratch = reduction_scratch(x);
    visit_float("batch_norm", x, [&](auto stream, auto zero) {
      using T = decltype(zero);
      kernels::batch_norm_dparams<T>(stream, dense_view<const T>(x), dense_view<const T>(dy),
                                     {mean.data<T>(), invstd.data<T>()}, dgain.data<T>(), dbias.data<T>(),
                                     scratch.raw());
    });
  }
  grads.add(0, [&] {
    const Tensor dx = reuse_or_empty(dy);
    visit_float("batch_norm", x, [&](auto stream, auto zero) {
      using T = decltype(zero);
      kernels::batch_norm_dx<T>(stream, dense_view<const T>(x), dense_view<const T>(dy),
                                {mean.data<T>(), invstd.data<T>()}, gain.data<T>(),
                                training ? dgain.data<T>() : nullptr, training ? dbias.data<T>() : nullptr,
                                dense_view<T>(dx));
    });
    return dx;
  });
  grads.add(1, [&] { return dgain; });
  grads.add(2, [&] { return dbias; });
}

}  // namespace

Tensor batch_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, bool training, double momentum, double eps) {
  return forward(x, gain, bias, running_mean, running_var, {training, momentum, eps}).y;
}

Var batch_norm(const Var& x, const Var& gain, const Var& bias, const Tensor& running_mean, const Tensor& running_var,
               bool training, double momentum, double eps) {
  Normalised result = forward(x.data(), gain.data(), bias.data(), running_mean, running_var, {training, momentum, eps});
  return record("batch_norm", result.y, {x, gain, bias},
                [x = x.data(), gain = gain.data(), mean = result.mean, invstd = result.invstd, training](
                    const Tensor& dy, Grads& grads) { add_gradients(x, gain, mean, invstd, training, dy, grads); });
}

}  // namespace lacuna
