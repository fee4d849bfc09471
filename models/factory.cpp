#include "models/factory.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "models/mobilenet.h"
#include "models/transformer.h"

namespace lacuna {

namespace {

/// Fills a 0 from the data; anything else must agree with it.
void fit(const char* model, const char* key, std::int64_t& value, std::int64_t data_value) {
  if (value == 0) value = data_value;
  if (value != data_value) {
    throw ConfigError(model, fmt::format("'{}' is {}; the data has {}", key, value, data_value));
  }
}

void require_images(const char* model, const DataShape& data) {
  if (data.is_tokens() || data.channels <= 0) throw ConfigError(model, "the data are token sequences; must be images");
}

struct Resolver {
  const DataShape& data;

  void operator()(TransformerConfig& c) const {
    if (!data.is_tokens()) throw ConfigError("transformer", "the data are images; must be token sequences");
    fit("transformer", "vocabulary", c.vocabulary, data.num_classes);
    fit("transformer", "sequence_length", c.sequence_length, data.sequence_length);
  }
  void operator()(MobilenetConfig& c) const {
    require_images("mobilenet_v1", data);
    if (data.height != data.width) {
      throw ConfigError("mobilenet_v1", fmt::format("images of {} x {}; must be square", data.height, data.width));
    }
    fit("mobilenet_v1", "image_size", c.image_size, data.height);
    fit("mobilenet_v1", "num_classes", c.num_classes, data.num_classes);
  }
  void operator()(MlpConfig& c) const {
    require_images("mlp", data);
    fit("mlp", "num_classes", c.num_classes, data.num_classes);
  }
};

struct Maker {
  const DataShape& data;
  Init init;

  std::unique_ptr<Module> operator()(const TransformerConfig& c) const {
    return std::make_unique<Transformer>(c, init);
  }
  std::unique_ptr<Module> operator()(const MobilenetConfig& c) const {
    return std::make_unique<Mobilenet>(c, data.channels, init);
  }
  std::unique_ptr<Module> operator()(const MlpConfig& c) const {
    return std::make_unique<Mlp>(c, Mlp::Input{data.channels, data.height * data.width}, init);
  }
};

}  // namespace

Shape DataShape::inputs(std::int64_t batch) const {
  return is_tokens() ? Shape{batch * sequence_length} : Shape{channels, batch * height * width};
}

ModelConfig resolve(const ModelConfig& config, const DataShape& data) {
  ModelConfig resolved = config;
  std::visit(Resolver{data}, resolved);
  return resolved;
}

std::unique_ptr<Module> make_model(const ModelConfig& config, const DataShape& data, RandomStream& init,
                                   Device device) {
  std::unique_ptr<Module> model = std::visit(Maker{data, Init{init}}, resolve(config, data));
  model->to(device);
  return model;
}

}  // namespace lacuna
