// Mlp: fully connected layers, for small images and first experiments.
#pragma once

#include <vector>

#include "layers/linear.h"
#include "layers/module_list.h"
#include "models/activation_names.h"

namespace lacuna {

struct MlpConfig {
  static constexpr const char* kType = "mlp";
  std::vector<std::int64_t> hidden{256, 128};
  Activation activation = Activation::relu;
  double dropout = 0.0;
  std::int64_t num_classes = 0;
};
template <class V>
void describe(MlpConfig& c, V&& v) {
  v("hidden", c.hidden, "Widths of the layers between pixels and classes; empty = one linear layer", positive());
  v("activation", c.activation, "Between the layers");
  v("dropout", c.dropout, "After each activation", fraction());
  v("num_classes", c.num_classes, "Classes; 0 = as the data has them", non_negative());
}

/// Images flattened, then Linear layers with the activation and dropout between them.
///   x  [channels, batch * pixels]      returns logits [classes, batch]
/// (with pixels 1, x is [features, batch] already).
/// Parameters: layers.<i>.{weight, bias}. All weights are prunable but the last.
class Mlp : public Module {
 public:
  struct Input {
    std::int64_t channels = 1;
    std::int64_t pixels = 1;  ///< height * width of an image
  };
  /// Throws ValueError unless every size is positive.
  Mlp(const MlpConfig& config, Input input, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  std::int64_t batch(const Shape& shape) const;

  Input input_;
  double dropout_;
  ModuleList<Linear>* layers_ = nullptr;
};

}  // namespace lacuna
