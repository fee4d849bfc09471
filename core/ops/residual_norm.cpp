#include "core/ops/residual_norm.h"

#include "core/ops/dropout.h"
#include "core/ops/reduce.h"
#include "core/ops/row_parameter.h"
#include "core/ops/sparse_views.h"
#include "core/record_pair.h"
#include "core/visit.h"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/residual_norm/residual_norm.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "residual_norm";

struct Result {
  Tensor residual, normalised;
  Tensor mean, rstd;  // [n]
};

void check(const Tensor& x, const Tensor& h, const Tensor& h_bias, const Tensor& gain, const Tensor& bias, double p) {
  require_rank(kOp, "x", x, 2);
  if (h.defined()) require_same_shape(kOp, "x", x, "h", h);
  if (h_bias.defined()) require_row_parameter(kOp, "h_bias", h_bias, x);
  require_row_parameter(kOp, "gain", gain, x);
  require_row_parameter(kOp, "bias", bias, x);
  if (!(p >= 0 && p < 1)) throw ValueError(kOp, "p is " + std::to_string(p) + "; it must be in [0, 1)");
}

Result forward(const Tensor& x, const Tensor& h, const Tensor& h_bias, const Tensor& gain, const Tensor& bias, double p,
               RandomKey key, double eps) {
  const OpScope scope(kOp);
  check(x, h, h_bias, gain, bias, p);
  const auto per_column = [&] { return Tensor::empty({x.dim(1)}, gain.dtype(), x.device()); };
  const Result result{h.defined() ? Tensor::empty_like(x) : x, Tensor::empty_like(x), per_column(), per_column()};
  visit_activation(kOp, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = kernels::wide_t<T>;
    if (!h.defined()) {
      kernels::layer_norm<T>(stream, dense_view<const T>(x), gain.data<A>(), bias.data<A>(), eps,
                             dense_view<T>(result.normalised), {result.mean.data<A>(), result.rstd.data<A>()});
      return;
    }
    kernels::residual_norm<T>(stream, {.f = x.dim(0),
                                       .n = x.dim(1),
                                       .x = x.data<T>(),
                                       .h = h.data<T>(),
                                       .h_bias = h_bias.defined() ? h_bias.data<A>() : nullptr,
                                       .dropout = kernels::dropout_rule(p, key.seed, key.sequence),
                                       .gain = gain.data<A>(),
                                       .bias = bias.data<A>(),
                                       .eps = eps,
                                       .r = result.residual.data<T>(),
                                       .y = result.normalised.data<T>(),
                                       .mean = result.mean.data<A>(),
                                       .rstd = result.rstd.data<A>()});
  });
  return result;
}

/// What the tape keeps.
struct Saved {
  Tensor r, mean, rstd, gain;
  double p;
  RandomKey key;
  bool has_h_bias;
};

/// Inputs: 0 x, 1 h, 2 h_bias, 3 gain, 4 bias.
void add_gradients(const Saved& s, const Tensor& dr, const Tensor& dy, Grads& grads) {
  const OpScope scope("residual_norm gradient");
  const bool drops = s.p > 0 && (grads.wants(1) || grads.wants(2));
  if (!dy.defined()) {  // nothing came back through the norm
    const Tensor dh = drops ? dropout(dr, s.p, s.key) : dr;
    grads.add(0, dr);
    grads.add(1, dh);
    grads.add(2, [&] { return sum_columns(dh); });
    return;
  }
  // The stream's gradient may be added to in place: nobody else reads it any more.
  const Tensor dx = dr.defined() && dr.is_unique() ? dr : Tensor::empty_like(dy);
  const Tensor dh = drops ? Tensor::empty_like(dy) : Tensor();
  const Tensor dgain = Tensor::empty_like(s.gain), dbias = Tensor::empty_like(s.gain);
  const Tensor dh_bias = s.has_h_bias && grads.wants(2) ? Tensor::empty_like(s.gain) : Tensor();
  const Tensor scratch = activation_scratch_for(kOp, dy, [&](auto stream, auto zero) {
    return kernels::residual_norm_scratch_bytes<decltype(zero)>(stream, dy.dim(0), dy.dim(1));
  });
  visit_activation(kOp, dy, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = kernels::wide_t<T>;
    kernels::residual_norm_gradient<T>(stream,
                                       {.f = dy.dim(0),
                                        .n = dy.dim(1),
                                        .r = s.r.data<T>(),
                                        .dy = dy.data<T>(),
                                        .dr = dr.defined() ? dr.data<T>() : nullptr,
                                        .gain = s.gain.data<A>(),
                                        .mean = s.mean.data<A>(),
                                        .rstd = s.rstd.data<A>(),
                                        .dropout = kernels::dropout_rule(s.p, s.key.seed, s.key.sequence),
                                        .dx = dx.data<T>(),
                                        .dh = drops ? dh.data<T>() : nullptr,
                                        .dgain = dgain.data<A>(),
                                        .dbias = dbias.data<A>(),
                                        .dh_bias = dh_bias.defined() ? dh_bias.data<A>() : nullptr},
                                       scratch.raw());
  });
  grads.add(0, dx);
  grads.add(1, drops ? dh : dx);
  grads.add(2, dh_bias);
  grads.add(3, dgain);
  grads.add(4, dbias);
}

}  // namespace

ResidualNormTensors residual_norm(const Tensor& x, const Tensor& h, const Tensor& h_bias, const Tensor& gain,
                                  const Tensor& bias, double p, RandomKey key, double eps) {
  const Result result = forward(x, h, h_bias, gain, bias, p, key, eps);
  return {result.residual, result.normalised};
}

ResidualNormVars residual_norm(const Var& x, const Var& h, const Var& h_bias, const Var& gain, const Var& bias,
                               double p, RandomKey key, double eps) {
  const Tensor h_bias_data = h_bias.defined() ? h_bias.data() : Tensor();
  const Tensor h_data = h.defined() ? h.data() : Tensor();
  const Result result = forward(x.data(), h_data, h_bias_data, gain.data(), bias.data(), p, key, eps);
  const Saved saved{result.residual, result.mean, result.rstd, gain.data(), p, key, h_bias.defined()};
  const VarPair pair =
      record_pair(kOp, result.residual, result.normalised, {x, h, h_bias, gain, bias},
                  [saved](const Tensor& dr, const Tensor& dy, Grads& grads) { add_gradients(saved, dr, dy, grads); });
  return {pair.first, pair.second};
}

}  // namespace lacuna
