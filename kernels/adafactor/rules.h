// Adafactor's formulas, on host and device alike.
#pragma once

#include "kernels/adafactor/adafactor.h"
#include "kernels/optim/rules.h"

namespace lacuna::kernels {

/// What the whole parameter's sums decide: value = value * value_factor - update_factor * u.
template <class T>
struct AdafactorStep {
  T update_factor, value_factor;
};

template <class T>
struct AdafactorRule {
  T beta1, one_minus_beta1, beta2, one_minus_beta2, eps1;

  explicit AdafactorRule(const AdafactorCoefficients& c)
      : beta1(static_cast<T>(c.beta1)),
        one_minus_beta1(static_cast<T>(1 - c.beta1)),
        beta2(static_cast<T>(c.beta2)),
        one_minus_beta2(static_cast<T>(1 - c.beta2)),
        eps1(static_cast<T>(c.eps1)) {}

  LACUNA_RULE_HD T squared(T g) const { return g * g + eps1; }
  /// What was never seen takes the fresh number as it is, as every entry does in the first step, where beta2 is 0. Squares
  /// hold eps1, so 0 means never seen: an entry, row or column that a pruner has just grown.
  LACUNA_RULE_HD T decayed(T old, T fresh) const { return old == T(0) ? fresh : beta2 * old + one_minus_beta2 * fresh; }
  LACUNA_RULE_HD void apply(T& value, T u, T* m, const AdafactorStep<T>& step) const {
    T change = step.update_factor * u;
    if (m) change = *m = beta1 * *m + one_minus_beta1 * change;
    value = value * step.value_factor - change;
  }
};

/// From the sums over all n entries of u^2 and value^2.
template <class T>
LACUNA_RULE_HD AdafactorStep<T> adafactor_step(const AdafactorCoefficients& c, double sum_u, double sum_value,
                                               std::int64_t n) {
  double alpha = c.step_size;
  if (c.scale_by_value) {
    const double rms = sqrt(sum_value / static_cast<double>(n));
    alpha *= rms > c.eps2 ? rms : c.eps2;
  }
  double clip = 1;
  if (c.clip_threshold > 0) {
    const double excess = sqrt(sum_u / static_cast<double>(n)) / c.clip_threshold;
    if (excess > 1) clip = excess;
  }
  return {static_cast<T>(alpha / clip), static_cast<T>(1 - alpha * c.weight_decay)};
}

}  // namespace lacuna::kernels
