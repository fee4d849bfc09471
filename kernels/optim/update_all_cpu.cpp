#include "kernels/common/parallel.h"
#include "kernels/optim/update_all.h"

namespace lacuna::kernels {
namespace {

/// update(span, i, gradient scale) for every element of every span, unless the guard says skip.
template <class T, class F>
void for_each(const UpdateSpan<T>* spans, std::int64_t count, const UpdateGuard<T>& guard, const F& update) {
  if (guard.skip && *guard.skip != 0) return;
  const T scale = guard.scale ? static_cast<T>(*guard.scale) : T(1);
  for (std::int64_t s = 0; s < count; ++s) {
    const UpdateSpan<T>& span = spans[s];
    const auto update_one = update(span);
#pragma omp parallel for schedule(static) if (worth_threads(span.size))
    for (std::int64_t i = 0; i < span.size; ++i) update_one(i, scale);
  }
}

}  // namespace

template <class T>
void sgd_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, const SgdRule<T>* rules,
                    const UpdateGuard<T>& guard) {
  for_each(spans, count, guard, [rules](const UpdateSpan<T>& span) {
    SgdRule<T> rule = rules[span.decays ? 1 : 0];
    rule.first_step = span.fresh;
    return [rule, span](std::int64_t i, T scale) {
      rule.apply(span.value[i], span.grad[i] * scale, span.first ? span.first + i : nullptr);
    };
  });
}

template <class T>
void adam_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, const AdamRule<T>* rules,
                     const UpdateGuard<T>& guard) {
  for_each(spans, count, guard, [rules](const UpdateSpan<T>& span) {
    return [rule = rules[span.decays ? 1 : 0], span](std::int64_t i, T scale) {
      rule.apply(span.value[i], span.grad[i] * scale, span.first[i], span.second[i]);
    };
  });
}

template <class T>
void ema_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, double decay,
                    const UpdateGuard<T>& guard) {
  for_each(spans, count, guard, [rule = EmaRule<T>(decay)](const UpdateSpan<T>& span) {
    return [rule, span](std::int64_t i, T) { rule.apply(span.value[i], span.grad[i]); };
  });
}

#define LACUNA_INSTANTIATE(T)                                                                         \
  template void sgd_update_all<T>(CpuStream, const UpdateSpan<T>*, std::int64_t, const SgdRule<T>*,   \
                                  const UpdateGuard<T>&);                                             \
  template void adam_update_all<T>(CpuStream, const UpdateSpan<T>*, std::int64_t, const AdamRule<T>*, \
                                   const UpdateGuard<T>&);                                            \
  template void ema_update_all<T>(CpuStream, const UpdateSpan<T>*, std::int64_t, double, const UpdateGuard<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
