// Updates of many parameters in one launch, by coefficients that lie in device memory: equal bits with one launch for each
// (kernels/optim/optim.h), and a captured launch follows the schedule. The arrays' addresses travel as kernel arguments:
// gradients have new ones in every step, and a graph keeps its own copy of arguments.
#pragma once

#include <cstdint>

#include "kernels/optim/optim.h"
#include "kernels/optim/rules.h"

namespace lacuna::kernels {

/// One parameter's arrays, [size] each.
template <class T>
struct UpdateSpan {
  T* value = nullptr;
  const T* grad = nullptr;
  T* first = nullptr;   ///< SGD: the momentum, null without; Adam: m
  T* second = nullptr;  ///< Adam: v
  std::int64_t size = 0;
  bool decays = false;  ///< takes rules[1], the one with weight decay, instead of rules[0]
  bool fresh = false;   ///< SGD: the momentum is new and takes the gradient as it is
};

/// `spans` is a host array, read before returning; `rules` [2] is on the device, its first_step is not used.
template <class T>
void sgd_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, const SgdRule<T>* rules,
                    const UpdateGuard<T>& guard);
template <class T>
void sgd_update_all(CudaStream, const UpdateSpan<T>* spans, std::int64_t count, const SgdRule<T>* rules,
                    const UpdateGuard<T>& guard);

template <class T>
void adam_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, const AdamRule<T>* rules,
                     const UpdateGuard<T>& guard);
template <class T>
void adam_update_all(CudaStream, const UpdateSpan<T>* spans, std::int64_t count, const AdamRule<T>* rules,
                     const UpdateGuard<T>& guard);

/// `value` is the moving average, `grad` what it follows. Only guard.skip counts.
template <class T>
void ema_update_all(CpuStream, const UpdateSpan<T>* spans, std::int64_t count, double decay,
                    const UpdateGuard<T>& guard);
template <class T>
void ema_update_all(CudaStream, const UpdateSpan<T>* spans, std::int64_t count, double decay,
                    const UpdateGuard<T>& guard);

}  // namespace lacuna::kernels
