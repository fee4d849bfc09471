// In-place updates of one parameter's values and optimizer state. Elementwise: dense and sparse parameters are alike.
// The formulas are in kernels/optim/rules.h.
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Pointers on the parameter's device, read when the update runs, so that the host never waits to decide.
template <class T>
struct UpdateGuard {
  const float* scale = nullptr;        ///< multiplies the gradient (the clip factor); null = 1
  const std::int32_t* skip = nullptr;  ///< anything but 0 leaves values and state untouched; null = never
};

/// PyTorch's SGD. value, grad, momentum [n]; value and momentum are overwritten. `momentum` is null without momentum;
/// `first_step`: the momentum buffer takes the gradient as it is, whatever the dampening.
template <class T>
void sgd_update(CpuStream, T* value, const T* grad, T* momentum, std::int64_t n, double lr, double momentum_coefficient,
                double dampening, double weight_decay, bool nesterov, bool first_step, const UpdateGuard<T>& guard);
template <class T>
void sgd_update(CudaStream, T* value, const T* grad, T* momentum, std::int64_t n, double lr,
                double momentum_coefficient, double dampening, double weight_decay, bool nesterov, bool first_step,
                const UpdateGuard<T>& guard);

/// PyTorch's Adam, or AdamW when `decoupled`. value, grad, m, v [n]; all but grad are overwritten. `step` counts
/// from 1.
template <class T>
void adam_update(CpuStream, T* value, const T* grad, T* m, T* v, std::int64_t n, double lr, double beta1, double beta2,
                 double eps, double weight_decay, bool decoupled, std::int64_t step, const UpdateGuard<T>& guard);
template <class T>
void adam_update(CudaStream, T* value, const T* grad, T* m, T* v, std::int64_t n, double lr, double beta1, double beta2,
                 double eps, double weight_decay, bool decoupled, std::int64_t step, const UpdateGuard<T>& guard);

/// ema = decay * ema + (1 - decay) * value. Only guard.skip counts here.
template <class T>
void ema_update(CpuStream, T* ema, const T* value, std::int64_t n, double decay, const UpdateGuard<T>& guard);
template <class T>
void ema_update(CudaStream, T* ema, const T* value, std::int64_t n, double decay, const UpdateGuard<T>& guard);

/// norm = sqrt(*sum_of_squares); factor = min(1, max_norm / (norm + 1e-6)), PyTorch's clip_grad_norm_; 1 when
/// max_norm <= 0. Sets *bad to 1 when the norm is not finite and never clears it; adds 1 to *num_good where *bad is 0
/// then. Any output may be null.
template <class T>
void clip_factor(CpuStream, const T* sum_of_squares, double max_norm, T* norm, float* factor, std::int32_t* bad,
                 std::int32_t* num_good = nullptr);
template <class T>
void clip_factor(CudaStream, const T* sum_of_squares, double max_norm, T* norm, float* factor, std::int32_t* bad,
                 std::int32_t* num_good = nullptr);

/// Sets *bad to 1 when any of x [n] is NaN or infinite; never clears it.
template <class T>
void flag_not_finite(CpuStream, const T* x, std::int64_t n, std::int32_t* bad);
template <class T>
void flag_not_finite(CudaStream, const T* x, std::int64_t n, std::int32_t* bad);

}  // namespace lacuna::kernels
