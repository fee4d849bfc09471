// Optimizers: stateless rules; what they remember lives in each parameter's slots, over the parameter's own pattern.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/ops/update.h"
#include "core/parameter.h"
#include "optim/optimizer_config.h"

namespace lacuna {

struct UpdateInputs {
  double lr = 0;          ///< already multiplied by the schedule
  std::int64_t step = 0;  ///< 0-based optimizer step
  UpdateGuard guard;
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  /// Updates one parameter from its gradient; one without a gradient is left alone. Creates missing slots as zeros.
  virtual void update(Parameter& parameter, const UpdateInputs& inputs) const = 0;
  virtual double peak_lr() const = 0;
  /// Numbers kept beside this parameter's value and gradient: 0 SGD, one per weight with momentum, two Adam.
  virtual std::int64_t state_numel(const Parameter& parameter) const = 0;
  /// Of these, whole arrays laid out as a matrix's value; Adafactor's means of rows and columns are not among them.
  virtual int num_slots() const = 0;
};

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config);

/// Global gradient norm over all parameters with gradients, and what follows from it; everything stays on the device.
class GradientGuard {
 public:
  GradientGuard(double max_norm, DType dtype, Device device);
  /// Reads the gradients' and the loss's finiteness and the norm; returns the guard for this step's updates.
  UpdateGuard inspect(const std::vector<Parameter*>& parameters, const Tensor& loss);
  double norm() const { return norm_.item(); }        ///< of the last inspect(); waits for the device
  bool diverged() const { return bad_.item() != 0; }  ///< waits for the device

 private:
  double max_norm_;
  Tensor norm_, factor_, bad_;
};

/// Creates (as copies of the values) and advances the slot "ema" of every parameter.
void update_ema(const std::vector<Parameter*>& parameters, double decay, const UpdateGuard& guard);

}  // namespace lacuna
