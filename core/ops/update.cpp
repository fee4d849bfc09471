#include "core/ops/update.h"

#include "core/errors.h"
#include "core/visit.h"
#include "kernels/optim/optim.h"

namespace lacuna {
namespace {

template <class T>
kernels::UpdateGuard<T> view(const UpdateGuard& guard) {
  return {guard.scale.defined() ? guard.scale.data<float>() : nullptr,
          guard.skip.defined() ? guard.skip.data<std::int32_t>() : nullptr};
}

void check_alike(const char* op, const Tensor& value, const Tensor& other, const char* name) {
  if (other.numel() == value.numel() && other.dtype() == value.dtype() && other.device() == value.device()) return;
  throw ShapeError(op, std::string(name) + " is " + describe(other) + ", value " + describe(value) +
                           "; count, dtype and device must agree");
}

void check_guard(const char* op, const Tensor& value, const UpdateGuard& guard) {
  for (const Tensor* t : {&guard.scale, &guard.skip})
    if (t->defined() && (t->numel() != 1 || !(t->device() == value.device())))
      throw ShapeError(op, "guard is " + describe(*t) + "; must be a scalar on " + to_string(value.device()));
}

}  // namespace

void sgd_update(const Tensor& value, const Tensor& grad, const Tensor& momentum, const SgdStep& s,
                const UpdateGuard& guard) {
  const OpScope scope("sgd_update");
  check_alike("sgd_update", value, grad, "grad");
  if (momentum.defined()) check_alike("sgd_update", value, momentum, "momentum");
  check_guard("sgd_update", value, guard);
  visit_float("sgd_update", value, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sgd_update<T>(stream, value.data<T>(), grad.data<T>(), momentum.defined() ? momentum.data<T>() : nullptr,
                           value.numel(), s.lr, s.momentum, s.dampening, s.weight_decay, s.nesterov, s.first,
                           view<T>(guard));
  });
}

void adam_update(const Tensor& value, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamStep& s,
                 const UpdateGuard& guard) {
  const OpScope scope("adam_update");
  check_alike("adam_update", value, grad, "grad");
  check_alike("adam_update", value, m, "m");
  check_alike("adam_update", value, v, "v");
  check_guard("adam_update", value, guard);
  visit_float("adam_update", value, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::adam_update<T>(stream, value.data<T>(), grad.data<T>(), m.data<T>(), v.data<T>(), value.numel(), s.lr,
                            s.beta1, s.beta2, s.eps, s.weight_decay, s.decoupled, s.step, view<T>(guard));
  });
}

void ema_update(const Tensor& ema, const Tensor& value, double decay, const UpdateGuard& guard) {
  const OpScope scope("ema_update");
  check_alike("ema_update", value, ema, "ema");
  check_guard("ema_update", value, guard);
  visit_float("ema_update", value, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::ema_update<T>(stream, ema.data<T>(), value.data<T>(), value.numel(), decay, view<T>(guard));
  });
}

void clip_factor(const Tensor& sum_of_squares, double max_norm, const Tensor& norm, const Tensor& factor,
                 const Tensor& bad, const Tensor& num_good) {
  const OpScope scope("clip_factor");
  check_alike("clip_factor", sum_of_squares, norm, "norm");
  check_guard("clip_factor", sum_of_squares, {factor, bad});
  check_guard("clip_factor", sum_of_squares, {{}, num_good});
  visit_float("clip_factor", sum_of_squares, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::clip_factor<T>(stream, sum_of_squares.data<T>(), max_norm, norm.data<T>(), factor.data<float>(),
                            bad.data<std::int32_t>(), num_good.defined() ? num_good.data<std::int32_t>() : nullptr);
  });
}

void flag_not_finite(const Tensor& x, const Tensor& bad) {
  const OpScope scope("flag_not_finite");
  check_guard("flag_not_finite", x, {{}, bad});
  visit_float("flag_not_finite", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::flag_not_finite<T>(stream, x.data<T>(), x.numel(), bad.data<std::int32_t>());
  });
}

}  // namespace lacuna
