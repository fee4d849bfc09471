#include "models/mlp.h"

#include "layers/dropout.h"
#include "layers/flatten.h"
#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

Mlp::Mlp(const MlpConfig& config, Input input, Init init) : input_(input), dropout_(config.dropout) {
  require_positive("mlp", "channels", input.channels);
  require_positive("mlp", "pixels", input.pixels);
  require_positive("mlp", "num_classes", config.num_classes);
  require_dropout_rate("mlp", config.dropout);
  layers_ = &add_child<ModuleList<Linear>>("layers");
  std::int64_t features = input.channels * input.pixels;
  for (const std::int64_t width : config.hidden) {
    layers_->append(features, width, LinearOptions{.activation = config.activation}, init);
    features = width;
  }
  layers_->append(features, config.num_classes, LinearOptions{.prunable = false}, init);
}

std::int64_t Mlp::batch(const Shape& shape) const {
  return require_batch("mlp", shape, input_.channels, input_.pixels, "images");
}

Var Mlp::forward(const Var& x, ForwardContext& context) {
  batch(x.shape());
  Var y = flatten(x, input_.pixels);
  for (std::size_t i = 0; i < layers_->size(); ++i) {
    y = (*layers_)[i].forward(i == 0 ? y : dropout(y, dropout_, context), context);
  }
  return y;
}

Shape Mlp::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  Shape y{input_.channels * input_.pixels, batch(shape)};
  const std::string layers = join_path(prefix, "layers");
  for (std::size_t i = 0; i < layers_->size(); ++i) {
    if (i > 0 && dropout_ > 0) lines.back().activation_bytes += activation_bytes_of(y.numel());
    y = (*layers_)[i].plan(y, join_path(layers, std::to_string(i)), lines);
  }
  return y;
}

}  // namespace lacuna
