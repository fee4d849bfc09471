// Linear: activation(weight * x + bias), the weight dense or sparse.
#pragma once

#include "layers/initialize.h"
#include "layers/module.h"

namespace lacuna {

struct LinearOptions {
  bool bias = true;
  Activation activation = Activation::none;  ///< fused into the product
  bool prunable = true;
  double deviation = 0;  ///< of the normal initial weights; 0: 1 / sqrt(inputs), times sqrt(2) (He) before a ReLU
};

/// Parameters: weight [outputs, inputs] (prunable by default, decays), bias [outputs] (zero at first).
///   x  [inputs, columns]      returns [outputs, columns]
class Linear : public Module {
 public:
  Linear(std::int64_t inputs, std::int64_t outputs, const LinearOptions& options, Init init);

  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

  Parameter& weight() { return *weight_; }
  const Parameter& weight() const { return *weight_; }

  /// weight * x alone, for an op that adds the bias and applies the activation on its way.
  Var product(const Var& x, ForwardContext& context);
  Var bias(ForwardContext& context) const { return bias_ ? context.use(*bias_) : Var{}; }  ///< undefined: none
  Activation activation() const { return activation_; }

 private:
  Activation activation_;
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;  // null without bias
};

}  // namespace lacuna
