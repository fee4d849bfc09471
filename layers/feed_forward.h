// FeedForward: the Transformer's two-layer perceptron.
#pragma once

#include "layers/residual.h"

namespace lacuna {

struct FeedForwardOptions {
  std::int64_t features = 0;
  std::int64_t filter = 0;  ///< width between the two layers
  Activation activation = Activation::relu;
  double dropout = 0;           ///< after the activation
  double output_deviation = 0;  ///< of the second layer's initial weights; 0: Linear's own
};

/// contract(dropout(activation(expand(x)))).
/// Children: expand (Linear [filter, features]), contract (Linear [features, filter]).
///   x  [features, columns]      returns the same shape
class FeedForward : public Module {
 public:
  FeedForward(const FeedForwardOptions& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  /// The same for a residual stream: the last bias and `dropout` are left to the addition.
  Pending pending(const Var& x, double dropout, ForwardContext& context);
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  Var expand(const Var& x, ForwardContext& context);  // all but the second product

  double dropout_;
  Linear& expand_;
  Linear& contract_;
};

}  // namespace lacuna
