// Optimizers: stateless rules; what they remember lives in each parameter's slots, over the parameter's own pattern.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/ops/update_all.h"
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
  /// Puts what changes from step to step where update_all() reads it. `like`: a parameter's value, for dtype and device.
  virtual void prepare(double lr, std::int64_t step, const Tensor& like);
  /// update() of each parameter for the step last prepared, with equal bits on the CPU; in one launch where the rule has
  /// one.
  virtual void update_all(const std::vector<Parameter*>& parameters, const UpdateGuard& guard);
  /// Whether update_all() finds all of the step's numbers on the device, so that a captured one follows the schedule.
  virtual bool can_be_captured() const { return false; }
  virtual double peak_lr() const = 0;
  /// Numbers kept beside this parameter's value and gradient: 0 SGD, one per weight with momentum, two Adam.
  virtual std::int64_t state_numel(const Parameter& parameter) const = 0;
  /// Of these, whole arrays laid out as a matrix's value; Adafactor's means of rows and columns are not among them.
  virtual int num_slots() const = 0;

 private:
  UpdateInputs prepared_;
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
  /// Steps inspected before the first that was not finite; all of them, when none was. Waits for the device.
  std::int64_t num_good() const { return static_cast<std::int64_t>(num_good_.item()); }

 private:
  double max_norm_;
  Tensor norm_, factor_, bad_, num_good_;
};

/// Creates (as copies of the values) and advances the slot "ema" of every parameter.
void update_ema(const std::vector<Parameter*>& parameters, double decay, const UpdateGuard& guard);

}  // namespace lacuna
