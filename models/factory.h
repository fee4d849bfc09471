// From a config to a model that fits the data.
#pragma once

#include <memory>
#include <variant>

#include "models/mlp.h"
#include "models/mobilenet_config.h"
#include "models/transformer_config.h"

namespace lacuna {

using ModelConfig = std::variant<TransformerConfig, MobilenetConfig, MlpConfig>;

/// What a model must fit.
struct DataShape {
  std::int64_t num_classes = 0;      ///< or the size of the vocabulary
  std::int64_t sequence_length = 0;  ///< 0 for images
  std::int64_t channels = 0;         ///< these three are 0 for tokens
  std::int64_t height = 0;
  std::int64_t width = 0;

  bool is_tokens() const { return sequence_length > 0; }
  /// Shape of a batch's inputs: [batch * t] or [channels, batch * height * width].
  Shape inputs(std::int64_t batch) const;
};

/// The config with its "as the data has them" (0) filled in.
/// Throws ConfigError when the model cannot take this data (tokens to an image model, other sizes, other classes).
ModelConfig resolve(const ModelConfig& config, const DataShape& data);

/// The model, on `device`, f32. Initial weights are drawn on the CPU from `init` and are the same on every device.
/// Throws as resolve(); ValueError, DataError from the model.
std::unique_ptr<Module> make_model(const ModelConfig& config, const DataShape& data, RandomStream& init, Device device);

}  // namespace lacuna
