#include "kernels/common/parallel.h"
#include "kernels/optim/optim.h"

#include <cmath>

#include "kernels/optim/rules.h"

namespace lacuna::kernels {

namespace {

template <class T>
bool skipped(const UpdateGuard<T>& guard) {
  return guard.skip && *guard.skip != 0;
}

template <class T>
T gradient_scale(const UpdateGuard<T>& guard) {
  return guard.scale ? static_cast<T>(*guard.scale) : T(1);
}

}  // namespace

template <class T>
void sgd_update(CpuStream, T* value, const T* grad, T* momentum, std::int64_t n, double lr, double momentum_coefficient,
                double dampening, double weight_decay, bool nesterov, bool first_step, const UpdateGuard<T>& guard) {
  if (skipped(guard)) return;
  const SgdRule<T> rule(lr, momentum_coefficient, dampening, weight_decay, nesterov, first_step);
  const T scale = gradient_scale(guard);
#pragma omp parallel for schedule(static) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) rule.apply(value[i], grad[i] * scale, momentum ? momentum + i : nullptr);
}

template <class T>
void adam_update(CpuStream, T* value, const T* grad, T* m, T* v, std::int64_t n, double lr, double beta1, double beta2,
                 double eps, double weight_decay, bool decoupled, std::int64_t step, const UpdateGuard<T>& guard) {
  if (skipped(guard)) return;
  const AdamRule<T> rule(lr, beta1, beta2, eps, weight_decay, decoupled, step);
  const T scale = gradient_scale(guard);
#pragma omp parallel for schedule(static) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) rule.apply(value[i], grad[i] * scale, m[i], v[i]);
}

template <class T>
void ema_update(CpuStream, T* ema, const T* value, std::int64_t n, double decay, const UpdateGuard<T>& guard) {
  if (skipped(guard)) return;
  const EmaRule<T> rule(decay);
#pragma omp parallel for schedule(static) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) rule.apply(ema[i], value[i]);
}

template <class T>
void clip_factor(CpuStream, const T* sum_of_squares, double max_norm, T* norm, float* factor, std::int32_t* bad,
                 std::int32_t* num_good) {
  const double root = std::sqrt(static_cast<double>(*sum_of_squares));
  if (norm) *norm = static_cast<T>(root);
  if (factor) *factor = clip_rule(root, max_norm);
  if (bad && !std::isfinite(root)) *bad = 1;
  if (num_good && !(bad && *bad != 0)) ++*num_good;
}

template <class T>
void flag_not_finite(CpuStream, const T* x, std::int64_t n, std::int32_t* bad) {
  bool any = false;
#pragma omp parallel for schedule(static) reduction(|| : any) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) any = any || !std::isfinite(x[i]);
  if (any) *bad = 1;
}

#define LACUNA_INSTANTIATE(T)                                                                                                \
  template void sgd_update<T>(CpuStream, T*, const T*, T*, std::int64_t, double, double, double, double, bool, bool,         \
                              const UpdateGuard<T>&);                                                                        \
  template void adam_update<T>(CpuStream, T*, const T*, T*, T*, std::int64_t, double, double, double, double, double, bool, \
                               std::int64_t, const UpdateGuard<T>&);                                                         \
  template void ema_update<T>(CpuStream, T*, const T*, std::int64_t, double, const UpdateGuard<T>&);                         \
  template void clip_factor<T>(CpuStream, const T*, double, T*, float*, std::int32_t*, std::int32_t*);                       \
  template void flag_not_finite<T>(CpuStream, const T*, std::int64_t, std::int32_t*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
