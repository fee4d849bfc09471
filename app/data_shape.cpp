#include "app/data_shape.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/errors.h"
#include "data/made_up.h"
#include "train/table.h"

namespace lacuna {
namespace {

constexpr std::int64_t kByteValues = 256;

/// 0 for "as the data has them".
std::int64_t classes_of(const ModelConfig& model) {
  if (const auto* mobilenet = std::get_if<MobilenetConfig>(&model)) return mobilenet->num_classes;
  if (const auto* mlp = std::get_if<MlpConfig>(&model)) return mlp->num_classes;
  return 0;
}

DataShape images(std::int64_t classes, std::int64_t channels, std::int64_t size) {
  return {.num_classes = classes, .channels = channels, .height = size, .width = size};
}

bool counts_in_epochs(const RunConfig& c) {
  return c.training.steps == 0 || c.pruning.begin_epoch || c.pruning.end_epoch || c.pruning.frequency_epochs;
}

/// Training examples of the public set that has this shape; 0 when there is none.
std::int64_t usual_examples(const RunConfig& config, const DataShape& shape) {
  const DataConfig& data = config.data;
  const auto without_held_out = [&](std::int64_t all) {
    return all - static_cast<std::int64_t>(data.valid_fraction * static_cast<double>(all));
  };
  if (data.type == "cifar10" || data.type == "cifar100" || data.type == "cifar10_bytes") return without_held_out(50000);
  if (data.type == "idx") return without_held_out(60000);
  constexpr std::int64_t kImageNet = 1281167;
  if (data.type == "image_folder_bytes") return kImageNet;
  return data.type == "image_folder" && shape.num_classes == 1000 ? kImageNet : 0;
}

}  // namespace

bool data_is_absent(const DataConfig& config) {
  if (config.type == "synthetic" || config.type == "synthetic_tokens") return false;
  std::error_code error;
  return std::filesystem::status(config.path, error).type() == std::filesystem::file_type::not_found;
}

std::string absence_of(const DataConfig& config) {
  // Where the download script puts each public set, from the directory that it and the configs begin at.
  constexpr std::pair<const char*, const char*> kPublic[] = {
      {"datasets/cifar-10-batches-bin", "cifar10"},
      {"datasets/cifar-100-binary", "cifar100"},
      {"datasets/mnist", "mnist"},
      {"datasets/fashion-mnist", "fashion-mnist"},
      {"datasets/imagenette2-160", "imagenette"},
      {"datasets/text/tinyshakespeare_input.txt", "tinyshakespeare"},
      {"datasets/wikitext-2-raw", "wikitext2"},
  };
  std::string advice = "relative paths begin where lacuna is started";
  for (const auto& [path, name] : kPublic)
    if (config.path == path) advice = fmt::format("scripts/download_data.sh {} fetches it", name);
  return fmt::format("nothing lies at data.path '{}': {}; data.path=PATH names another place", config.path, advice);
}

std::optional<DataShape> told_shape(const RunConfig& config) {
  const DataConfig& data = config.data;
  const auto tokens = [](std::int64_t length) {
    return DataShape{.num_classes = kByteValues, .sequence_length = length};
  };
  if (data.type == "text" || data.type == "synthetic_tokens") return tokens(data.sequence_length);
  if (data.type == "cifar10_bytes") return tokens(3 * 32 * 32);
  if (data.type == "image_folder_bytes") {
    const std::int64_t size = data.image_size > 0 ? data.image_size : 64;
    return tokens(3 * size * size);
  }
  if (data.type == "synthetic") return images(data.num_classes, 3, data.image_size > 0 ? data.image_size : 32);
  if (data.type == "cifar10") return images(10, 3, 32);
  if (data.type == "cifar100") return images(100, 3, 32);
  const std::int64_t classes = classes_of(config.model);
  if (data.type == "image_folder" && classes > 0)
    return images(classes, 3, data.image_size > 0 ? data.image_size : 224);
  return {};
}

MadeUpData make_up_data(const RunConfig& config) {
  const DataConfig& data = config.data;
  std::optional<DataShape> shape = told_shape(config);
  std::string whose = "the config's shape";
  if (!shape && data.type == "idx") {
    const std::int64_t classes = classes_of(config.model);
    shape = images(classes > 0 ? classes : 10, 1, 28);
    whose = "MNIST's shape";
  }
  if (!shape)
    throw ConfigError(locate(
        config, "model.num_classes",
        fmt::format("must be given, or the data be there, for '{}' would tell the number of classes", data.path)));
  std::int64_t examples = usual_examples(config, *shape);
  if (examples == 0) {
    if (counts_in_epochs(config))
      throw ConfigError(locate(config, config.training.steps == 0 ? "training.epochs" : "pruning",
                               fmt::format("is in epochs, and how long one is only '{}' could tell, which is not "
                                           "there; give steps",
                                           data.path)));
    examples = 1 << 20;
  }
  const auto train =
      std::make_shared<MadeUpExamples>(MadeUpOptions{.num_examples = examples,
                                                     .num_classes = shape->num_classes,
                                                     .sequence_length = shape->sequence_length,
                                                     .image = {shape->channels, shape->height, shape->width},
                                                     .seed = data.seed});
  return {{.train = train}, fmt::format("random examples of {} in place of '{}'", whose, data.path)};
}

}  // namespace lacuna
