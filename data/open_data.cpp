#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>

#include "core/errors.h"
#include "data/byte_text.h"
#include "data/cifar.h"
#include "data/data_config.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "data/image_folder_bytes.h"
#include "data/random_draws.h"
#include "data/synthetic.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

std::int64_t share_of(double fraction, std::int64_t count) {
  return static_cast<std::int64_t>(std::floor(fraction * static_cast<double>(count)));
}

// ---- text
// ------------------------------------------------------------------------------------------------------------

std::shared_ptr<Dataset> text(const Bytes& bytes, const DataConfig& config, Windows windows, const std::string& name) {
  return std::make_shared<ByteText>(bytes, config.sequence_length, windows, name);
}

/// Train, validation and test lie in this order in a source that is divided.
DataSplits split_text(const Bytes& bytes, const DataConfig& config, const TreeOptions& tree) {
  const std::int64_t size = bytes.size();
  const std::int64_t num_test = config.test_path.empty() ? share_of(config.test_fraction, size) : 0;
  const std::int64_t num_valid = config.valid_path.empty() ? share_of(config.valid_fraction, size) : 0;
  const std::int64_t train_end = size - num_valid - num_test;
  const auto part = [&](std::int64_t begin, std::int64_t end, const char* what) {
    return text(bytes.slice(begin, end), config, Windows::fixed, fmt::format("{} part of {}", what, config.path));
  };
  DataSplits splits;
  splits.train = text(bytes.slice(0, train_end), config, Windows::shifted,
                      train_end == size ? config.path : "training part of " + config.path);
  if (!config.valid_path.empty()) {
    splits.valid = text(read_tree(config.valid_path, tree), config, Windows::fixed, config.valid_path);
  } else if (config.valid_fraction > 0) {
    splits.valid = part(train_end, size - num_test, "validation");
  }
  if (!config.test_path.empty()) {
    splits.test = text(read_tree(config.test_path, tree), config, Windows::fixed, config.test_path);
  } else if (config.test_fraction > 0) {
    splits.test = part(size - num_test, size, "test");
  }
  return splits;
}

DataSplits open_text(const DataConfig& config) {
  const TreeOptions tree{config.extensions, config.file_order == "shuffled", config.seed, config.max_bytes};
  return split_text(read_tree(config.path, tree), config, tree);
}

// ---- images in memory
// ------------------------------------------------------------------------------------------------

struct Selections {
  std::vector<std::int64_t> train;
  std::vector<std::int64_t> valid;
};

Selections hold_out(std::int64_t count, const DataConfig& config) {
  const std::int64_t num_valid = share_of(config.valid_fraction, count);
  if (num_valid == count || (config.valid_fraction > 0 && num_valid == 0)) {
    throw DataError("data", fmt::format("{}: valid_fraction {} of {} images leaves one split empty", config.path,
                                        config.valid_fraction, count));
  }
  std::vector<std::int64_t> order = random_permutation(count, data_key(config.seed, DataDraw::split, 0));
  Selections selections;
  selections.valid.assign(order.begin(), order.begin() + num_valid);
  selections.train.assign(order.begin() + num_valid, order.end());
  std::sort(selections.valid.begin(), selections.valid.end());
  std::sort(selections.train.begin(), selections.train.end());
  return selections;
}

/// `usual` is what the set is normalised by unless the config says otherwise; empty = measured on the training images.
DataSplits split_images(ImageArray train_images, ImageArray test_images, const DataConfig& config,
                        Normalisation usual) {
  if (test_images.extent != train_images.extent) {
    throw DataError("data", fmt::format("{}: test images are {}x{}, training images {}x{}; they must agree",
                                        config.path, test_images.extent.height, test_images.extent.width,
                                        train_images.extent.height, train_images.extent.width));
  }
  const auto train = std::make_shared<const ImageArray>(std::move(train_images));
  const auto test = std::make_shared<const ImageArray>(std::move(test_images));
  Selections selections = hold_out(train->size(), config);
  DataSplits splits;
  if (config.type == "cifar10_bytes") {
    if (!selections.valid.empty()) splits.valid = std::make_shared<ImageBytes>(train, std::move(selections.valid));
    splits.train = std::make_shared<ImageBytes>(train, std::move(selections.train), config.flip);
    splits.test = std::make_shared<ImageBytes>(test, std::vector<std::int64_t>{});
    return splits;
  }
  if (usual.mean.empty() && (config.mean.empty() || config.deviation.empty())) {
    usual = measure_normalisation(*train, selections.train);
  }
  if (!config.mean.empty()) usual.mean = config.mean;
  if (!config.deviation.empty()) usual.deviation = config.deviation;
  const AugmentOptions augment{config.crop_padding, config.flip, config.cutout};
  if (!selections.valid.empty()) {
    splits.valid = std::make_shared<ImageArrayDataset>(train, std::move(selections.valid), usual);
  }
  splits.train = std::make_shared<ImageArrayDataset>(train, std::move(selections.train), usual, augment);
  splits.test = std::make_shared<ImageArrayDataset>(test, std::vector<std::int64_t>{}, usual);
  return splits;
}

DataSplits open_cifar(const DataConfig& config, CifarKind kind) {
  return split_images(read_cifar(cifar_files(config.path, kind, true), kind),
                      read_cifar(cifar_files(config.path, kind, false), kind), config,
                      kind == CifarKind::cifar10 ? kCifar10Normalisation : kCifar100Normalisation);
}

DataSplits open_idx(const DataConfig& config) {
  const IdxFiles train_files = idx_files(config.path, "train");
  const IdxFiles test_files = idx_files(config.path, "t10k");
  const std::string name = fs::path(config.path).lexically_normal().filename().string();
  ImageArray train = read_idx(train_files.images, train_files.labels, name.empty() ? "idx" : name);
  ImageArray test = read_idx(test_files.images, test_files.labels, train.name, train.num_classes);
  return split_images(std::move(train), std::move(test), config, {});
}

// ---- images in files, synthetic data
// ---------------------------------------------------------------------------------

DataSplits open_image_folder(const DataConfig& config) {
  ImageFolderOptions options;
  if (config.image_size > 0) options.image_size = config.image_size;
  options.resize_size = config.resize_size;
  options.min_crop_area = config.min_crop_area;
  options.flip = config.flip;
  if (!config.mean.empty()) options.normalisation.mean = config.mean;
  if (!config.deviation.empty()) options.normalisation.deviation = config.deviation;
  const fs::path root = config.path;
  const auto train = std::make_shared<ImageFolder>(root / "train", options);
  DataSplits splits;
  splits.train = train;
  const fs::path valid = config.valid_path.empty() ? root / "val" : fs::path(config.valid_path);
  splits.valid = std::make_shared<ImageFolder>(valid, options, train->classes());
  if (!config.test_path.empty()) {
    splits.test = std::make_shared<ImageFolder>(config.test_path, options, train->classes());
  }
  return splits;
}

DataSplits open_image_folder_bytes(const DataConfig& config) {
  ImageFolderBytesOptions options;
  if (config.image_size > 0) options.image_size = config.image_size;
  options.resize_size = config.resize_size;
  options.flip = config.flip;
  const fs::path root = config.path;
  DataSplits splits;
  splits.train = std::make_shared<ImageFolderBytes>(root / "train", options);
  splits.valid = std::make_shared<ImageFolderBytes>(
      config.valid_path.empty() ? root / "val" : fs::path(config.valid_path), options);
  if (!config.test_path.empty()) splits.test = std::make_shared<ImageFolderBytes>(config.test_path, options);
  return splits;
}

DataSplits open_synthetic(const DataConfig& config) {
  SyntheticImagesOptions options;
  options.num_examples = config.num_examples;
  options.num_classes = config.num_classes;
  if (config.image_size > 0) options.extent = {3, config.image_size, config.image_size};
  options.noise = config.noise;
  options.seed = config.seed;
  const auto next_split = [&](double fraction) -> std::shared_ptr<Dataset> {
    if (fraction <= 0) return nullptr;
    options.first += options.num_examples;
    options.num_examples = std::max<std::int64_t>(1, share_of(fraction, config.num_examples));
    return std::make_shared<SyntheticImages>(options);
  };
  DataSplits splits;
  splits.train = std::make_shared<SyntheticImages>(options);
  splits.valid = next_split(config.valid_fraction);
  splits.test = next_split(config.test_fraction);
  return splits;
}

DataSplits open_synthetic_tokens(const DataConfig& config) {
  // Enough bytes that each held-out part, which has windows of its own, holds at least one.
  const std::int64_t window = config.sequence_length + 1;
  double least = 1.0;
  for (const double fraction : {config.valid_fraction, config.test_fraction}) {
    if (fraction > 0) least = std::min(least, fraction);
  }
  const double total = std::max(static_cast<double>(config.num_examples + 1) * static_cast<double>(window) /
                                    (1.0 - config.valid_fraction - config.test_fraction),
                                static_cast<double>(window + 1) / least);
  DataConfig named = config;
  named.path = "synthetic tokens";
  named.valid_path.clear();
  named.test_path.clear();
  return split_text(Bytes::from(markov_bytes(static_cast<std::int64_t>(total) + 1, config.num_classes, config.seed)),
                    named, {});
}

}  // namespace

void validate(const DataConfig& config, const ReportProblem& problem) {
  const bool synthetic = config.type == "synthetic" || config.type == "synthetic_tokens";
  if (!synthetic && config.path.empty()) problem("path", fmt::format("must say where the {} data lie", config.type));
  // Past these nothing can be meant but a slip, and products of them would overflow or start threads without end.
  const auto at_most = [&](const char* key, std::int64_t value, std::int64_t most) {
    if (value > most) problem(key, fmt::format("must be at most {}, got {}", most, value));
  };
  at_most("num_examples", config.num_examples, std::numeric_limits<std::int32_t>::max());
  at_most("num_classes", config.num_classes, 1 << 20);
  at_most("sequence_length", config.sequence_length, std::numeric_limits<std::int32_t>::max());
  at_most("image_size", config.image_size, 32768);
  at_most("resize_size", config.resize_size, 32768);
  at_most("num_workers", config.num_workers, 1024);
  at_most("prefetch", config.prefetch, 65536);
  // Written so that NaN fails.
  if (!(config.valid_fraction >= 0 && config.test_fraction >= 0 && config.valid_fraction + config.test_fraction < 1)) {
    problem("valid_fraction", fmt::format("must leave training data beside 'test_fraction': {} + {} must be below 1",
                                          config.valid_fraction, config.test_fraction));
  }
  if (config.type == "synthetic_tokens" && (config.num_classes < 4 || config.num_classes > 256)) {
    problem("num_classes", fmt::format("must be 4 to 256 for synthetic_tokens, got {}", config.num_classes));
  }
  if (config.type == "image_folder" && !(config.min_crop_area > 0)) {
    problem("min_crop_area", fmt::format("must be above 0, got {}", config.min_crop_area));
  }
  const std::size_t channels = config.type == "idx" ? 1 : 3;
  for (const auto* values : {&config.mean, &config.deviation}) {
    if (!values->empty() && values->size() != channels) {
      problem(values == &config.mean ? "mean" : "deviation",
              fmt::format("must have one value per channel ({}), got {}", channels, values->size()));
    }
  }
  const bool as_bytes = config.type == "image_folder_bytes";
  if ((config.type == "image_folder" || as_bytes) && config.resize_size > 0) {
    const std::int64_t side = config.image_size > 0 ? config.image_size : as_bytes ? 64 : 224;
    if (config.resize_size < side) {
      problem("resize_size", fmt::format("must be at least 'image_size' ({}), got {}", side, config.resize_size));
    }
  }
}

DataSplits open_data(const DataConfig& config) {
  validate(config, [](const std::string& key, const std::string& message) {
    throw ConfigError("data", fmt::format("'{}' {}", key, message));
  });
  if (config.type == "synthetic") return open_synthetic(config);
  if (config.type == "synthetic_tokens") return open_synthetic_tokens(config);
  if (config.type == "text") return open_text(config);
  if (config.type == "cifar10" || config.type == "cifar10_bytes") return open_cifar(config, CifarKind::cifar10);
  if (config.type == "cifar100") return open_cifar(config, CifarKind::cifar100);
  if (config.type == "idx") return open_idx(config);
  if (config.type == "image_folder") return open_image_folder(config);
  if (config.type == "image_folder_bytes") return open_image_folder_bytes(config);
  throw ConfigError("data", fmt::format("unknown type '{}'", config.type));
}

}  // namespace lacuna
