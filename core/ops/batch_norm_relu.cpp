#include "core/ops/batch_norm_relu.h"

#include "core/ops/row_parameter.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/batch_norm/batch_norm.h"
#include "kernels/batch_norm_relu/batch_norm_relu.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "batch_norm_relu";

/// What the tape keeps.
struct Saved {
  Tensor x, gain, bias;
  Tensor mean, invstd;  // [c]
  bool training;
};

template <class T>
kernels::ChannelNorm<T> norm_of(const Saved& s) {
  using A = kernels::wide_t<T>;
  return {s.mean.data<A>(), s.invstd.data<A>(), s.gain.data<A>(), s.bias.data<A>()};
}

Saved statistics(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                 const Tensor& running_var, bool training, double momentum, double eps) {
  require_rank(kOp, "x", x, 2);
  require_row_parameter(kOp, "gain", gain, x);
  require_row_parameter(kOp, "bias", bias, x);
  require_row_parameter(kOp, "running_mean", running_mean, x);
  require_row_parameter(kOp, "running_var", running_var, x);
  if (training && x.dim(1) < 2)
    throw ShapeError(kOp, "x is " + describe(x) + "; training needs at least 2 values per channel");
  const Saved result{x, gain, bias, Tensor::empty_like(gain), Tensor::empty_like(gain), training};
  const Tensor scratch = !training ? Tensor() : scratch_for(kOp, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::batch_norm_scratch_bytes<T>(stream, dense_view<const T>(x));
  });
  visit_float(kOp, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = kernels::wide_t<T>;
    const kernels::ChannelStatistics<A> out{result.mean.data<A>(), result.invstd.data<A>()};
    if (!training) {
      return kernels::batch_norm_frozen_statistics<A>(stream, x.dim(0), eps, running_mean.data<A>(),
                                                      running_var.data<A>(), out);
    }
    kernels::batch_norm_statistics<T>(stream, dense_view<const T>(x), eps,
                                      {running_mean.data<A>(), running_var.data<A>(), momentum}, out, scratch.raw());
  });
  return result;
}

Tensor apply(const Saved& s) {
  const Tensor y = Tensor::empty_like(s.x);
  visit_float(kOp, s.x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::batch_norm_relu<T>(stream, s.x.dim(0), s.x.dim(1), s.x.data<T>(), norm_of<T>(s), y.data<T>());
  });
  return y;
}

void add_gradients(const Saved& s, const Tensor& dy, Grads& grads) {
  const OpScope scope("batch_norm_relu gradient");
  const std::int64_t c = s.x.dim(0), n = s.x.dim(1);
  Tensor dgain, dbias;
  // In training dx goes through the batch's statistics, whose gradient is made of dgain and dbias.
  if (grads.wants(1) || grads.wants(2) || (s.training && grads.wants(0))) {
    dgain = Tensor::empty_like(s.gain);
    dbias = Tensor::empty_like(s.gain);
    const Tensor scratch = scratch_for(kOp, s.x, [&](auto stream, auto zero) {
      return kernels::batch_norm_relu_scratch_bytes<decltype(zero)>(stream, c, n);
    });
    visit_float(kOp, s.x, [&](auto stream, auto zero) {
      using T = decltype(zero);
      using A = kernels::wide_t<T>;
      kernels::batch_norm_relu_dparams<T>(stream, c, n, s.x.data<T>(), dy.data<T>(), norm_of<T>(s), dgain.data<A>(),
                                          dbias.data<A>(), scratch.raw());
    });
  }
  grads.add(0, [&] {
    const Tensor dx = reuse_or_empty(dy);  // dy's last reader may overwrite it
    visit_float(kOp, s.x, [&](auto stream, auto zero) {
      using T = decltype(zero);
      using A = kernels::wide_t<T>;
      kernels::batch_norm_relu_dx<T>(stream, c, n, s.x.data<T>(), dy.data<T>(), norm_of<T>(s),
                                     s.training ? dgain.data<A>() : nullptr, s.training ? dbias.data<A>() : nullptr,
                                     dx.data<T>());
    });
    return dx;
  });
  grads.add(1, dgain);
  grads.add(2, dbias);
}

}  // namespace

Tensor batch_norm_relu(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                       const Tensor& running_var, bool training, double momentum, double eps) {
  const OpScope scope(kOp);
  return apply(statistics(x, gain, bias, running_mean, running_var, training, momentum, eps));
}

Var batch_norm_relu(const Var& x, const Var& gain, const Var& bias, const Tensor& running_mean,
                    const Tensor& running_var, bool training, double momentum, double eps) {
  const OpScope scope(kOp);
  const Saved saved =
      statistics(x.data(), gain.data(), bias.data(), running_mean, running_var, training, momentum, eps);
  return record(kOp, apply(saved), {x, gain, bias},
                [saved](const Tensor& dy, Grads& grads) { add_gradients(saved, dy, grads); });
}

}  // namespace lacuna
