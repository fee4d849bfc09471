// LayerNorm and BatchNorm over feature-major activations.
#pragma once

#include "core/ops/residual_norm.h"
#include "layers/fold.h"
#include "layers/initialize.h"
#include "layers/residual.h"

namespace lacuna {

/// Normalises each column over its features, then gain and bias per feature.
/// Parameters: gain [features] (1 at first), bias [features] (0). No decay.
///   x  [features, columns]      returns the same shape
class LayerNorm : public Module {
 public:
  LayerNorm(std::int64_t features, Init init, double eps = 1e-5);
  Var forward(const Var& x, ForwardContext& context) override;
  /// The sum, if something is pending, and the norm of it, in one op.
  ResidualNormVars forward(Residual x, ForwardContext& context);
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  double eps_;
  Parameter& gain_;
  Parameter& bias_;
};

struct BatchNormOptions {
  bool relu = false;  ///< max(0, .) of the result
  double momentum = 0.1;
  double eps = 1e-5;
};

/// Normalises each channel over the batch (training) or by the running statistics (evaluation), as PyTorch does.
/// Parameters: gain [channels] (1), bias [channels] (0). No decay.
/// Buffers: running_mean (0), running_var (1), updated in place by each training forward.
///   x  [channels, batch * height * width]      returns the same shape
class BatchNorm : public Module {
 public:
  BatchNorm(std::int64_t channels, const BatchNormOptions& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;
  /// What this norm does in evaluation, for the layer before it to absorb; from here on it hands x through and owns
  /// nothing. Waits for the device. Throws ValueError on a second call, and forward() does when training after it.
  ChannelMap dissolve();

 private:
  BatchNormOptions options_;
  Parameter& gain_;  // these four dangle once dissolved
  Parameter& bias_;
  Tensor& running_mean_;
  Tensor& running_var_;
  bool dissolved_ = false;
};

}  // namespace lacuna
