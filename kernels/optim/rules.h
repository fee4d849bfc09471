// One element of each optimizer's update: the formulas of torch.optim (single-tensor form), on host and device alike.
#pragma once

#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define LACUNA_RULE_HD __host__ __device__ __forceinline__
#else
#define LACUNA_RULE_HD inline
#endif

namespace lacuna::kernels {

/// Coefficients are prepared in double on the host and rounded to T once.
template <class T>
struct SgdRule {
  T lr, momentum, gradient_share, weight_decay;  // gradient_share = 1 - dampening
  bool nesterov, first_step;

  SgdRule(double lr_, double momentum_, double dampening, double weight_decay_, bool nesterov_, bool first_step_)
      : lr(static_cast<T>(lr_)),
        momentum(static_cast<T>(momentum_)),
        gradient_share(static_cast<T>(1 - dampening)),
        weight_decay(static_cast<T>(weight_decay_)),
        nesterov(nesterov_),
        first_step(first_step_) {}

  /// `buffer` is null without momentum.
  LACUNA_RULE_HD void apply(T& value, T g, T* buffer) const {
    // A zero decay must not turn an infinite weight into a NaN gradient.
    if (weight_decay != T(0)) g += weight_decay * value;
    if (buffer) {
      const T next = first_step ? g : momentum * *buffer + gradient_share * g;
      *buffer = next;
      g = nesterov ? g + momentum * next : next;
    }
    value -= lr * g;
  }
};

template <class T>
struct AdamRule {
  T gradient_decay, value_factor, one_minus_beta1, beta2, one_minus_beta2, step_size, root_correction2, eps;

  /// `step` counts from 1.
  AdamRule(double lr, double beta1, double beta2_, double eps_, double weight_decay, bool decoupled, std::int64_t step)
      : gradient_decay(static_cast<T>(decoupled ? 0 : weight_decay)),
        value_factor(static_cast<T>(decoupled ? 1 - lr * weight_decay : 1)),
        one_minus_beta1(static_cast<T>(1 - beta1)),
        beta2(static_cast<T>(beta2_)),
        one_minus_beta2(static_cast<T>(1 - beta2_)),
        step_size(static_cast<T>(lr / (1 - std::pow(beta1, static_cast<double>(step))))),
        root_correction2(static_cast<T>(std::sqrt(1 - std::pow(beta2_, static_cast<double>(step))))),
        eps(static_cast<T>(eps_)) {}

  LACUNA_RULE_HD void apply(T& value, T g, T& m, T& v) const {
    if (gradient_decay != T(0)) g += gradient_decay * value;
    m += one_minus_beta1 * (g - m);
    v = beta2 * v + one_minus_beta2 * g * g;
    value = value * value_factor - step_size * (m / (std::sqrt(v) / root_correction2 + eps));
  }
};

template <class T>
struct EmaRule {
  T share;
  explicit EmaRule(double decay) : share(static_cast<T>(1 - decay)) {}
  LACUNA_RULE_HD void apply(T& ema, T value) const { ema += share * (value - ema); }
};

/// min(1, max_norm / (norm + 1e-6)); NaN stays NaN.
LACUNA_RULE_HD float clip_rule(double norm, double max_norm) {
  if (max_norm <= 0) return 1.0f;
  const double factor = max_norm / (norm + 1e-6);
  return static_cast<float>(factor > 1 ? 1.0 : factor);
}

}  // namespace lacuna::kernels
