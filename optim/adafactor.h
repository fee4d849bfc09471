// Adafactor (Shazeer and Stern, 2018): second moments of matrices in rows + columns numbers.
#pragma once

#include "optim/optimizer.h"

namespace lacuna {

/// Step t (from 1) of a weight X with gradient G, scaled by the guard:
///   beta2 = 1 - t^-decay_exponent; second moments of G^2 + eps1 decay by it: means of rows and columns for a factored
///   matrix (kernels/adafactor/adafactor.h has the estimate, on a pattern too), else a number per weight
///   U = G / sqrt(V), divided by max(1, RMS(U) / clip_threshold)
///   alpha = schedule * min(lr, 1 / sqrt(t)) * max(eps2, RMS(X)); RMS over the stored weights
///   with beta1: M = beta1 M + (1 - beta1) alpha U in place of alpha U
///   X = X - alpha weight_decay X - alpha U
/// Slots: adafactor_rows, adafactor_cols, or adafactor_v; adafactor_m. A weight that changes between factored and not (by
/// being pruned, with `factored: dense`) begins its second moments anew.
class Adafactor : public Optimizer {
 public:
  explicit Adafactor(const AdafactorConfig& config) : config_(config) {}
  void update(Parameter& parameter, const UpdateInputs& inputs) const override;
  double peak_lr() const override { return config_.lr; }
  std::int64_t state_numel(const Parameter& parameter) const override;
  int num_slots() const override;

 private:
  bool factors(const Parameter& parameter) const;
  AdafactorConfig config_;
};

}  // namespace lacuna
