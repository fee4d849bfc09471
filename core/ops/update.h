// In-place updates of values and optimizer state. Elementwise, so dense and sparse parameters take the same path.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace lacuna {

/// Device-side say over an update, so that the host never waits to decide.
struct UpdateGuard {
  Tensor scale;  ///< f32 scalar that multiplies the gradient (the clip factor); undefined = 1
  Tensor skip;   ///< i32 scalar; anything but 0 leaves values and state untouched; undefined = never
};

struct SgdStep {
  double lr = 0, momentum = 0, dampening = 0, weight_decay = 0;
  bool nesterov = false;
  bool first = false;  ///< the momentum buffer is new: it takes the gradient as it is (PyTorch's rule)
};

struct AdamStep {
  double lr = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  bool decoupled = false;  ///< AdamW (Loshchilov & Hutter 2019): value *= 1 - lr * weight_decay
  std::int64_t step = 1;   ///< 1-based, for the bias corrections
};

/// PyTorch's SGD. `momentum` is undefined when the coefficient is 0. All [n] alike; value and momentum are overwritten.
void sgd_update(const Tensor& value, const Tensor& grad, const Tensor& momentum, const SgdStep& step,
                const UpdateGuard& guard);

/// PyTorch's Adam and AdamW. value, m, v are overwritten.
void adam_update(const Tensor& value, const Tensor& grad, const Tensor& m, const Tensor& v, const AdamStep& step,
                 const UpdateGuard& guard);

/// ema = decay * ema + (1 - decay) * value.
void ema_update(const Tensor& ema, const Tensor& value, double decay, const UpdateGuard& guard);

/// norm = sqrt(sum_of_squares); factor = min(1, max_norm / (norm + 1e-6)), or 1 when max_norm is 0 (PyTorch's
/// clip_grad_norm_). Sets *bad to 1 when the norm is not finite; never clears it. Adds 1 to num_good, when given, while
/// bad is 0.
///   sum_of_squares, norm: scalars of the model's dtype     factor f32 scalar     bad, num_good i32 scalars
void clip_factor(const Tensor& sum_of_squares, double max_norm, const Tensor& norm, const Tensor& factor,
                 const Tensor& bad, const Tensor& num_good = {});

/// Sets *bad to 1 when any element is NaN or infinite; never clears it.
void flag_not_finite(const Tensor& x, const Tensor& bad);

}  // namespace lacuna
