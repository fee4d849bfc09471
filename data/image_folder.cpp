#include "data/image_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/errors.h"
#include "data/files.h"
#include "data/image_codec.h"
#include "data/resample.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension == ".jpeg" || extension == ".jpg" || extension == ".png";
}

/// Names of a directory's entries that `keep` accepts, sorted bytewise.
template <class Keep>
std::vector<std::string> sorted_names(const fs::path& directory, Keep keep) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (!name.starts_with('.') && keep(*it)) names.push_back(std::move(name));
  }
  if (error) {
    throw DataError("image_folder",
                    fmt::format("{}: {}; it must be a readable directory", directory.string(), error.message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Ten tries at a random area and aspect, then the largest centred crop of permitted aspect; torchvision's procedure.
Region random_crop(std::int64_t width, std::int64_t height, double min_area, ExampleDraws& draws) {
  const double area = static_cast<double>(width) * static_cast<double>(height);
  const double log_low = std::log(3.0 / 4.0);
  const double log_high = std::log(4.0 / 3.0);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double target = area * (min_area + (1.0 - min_area) * draws.uniform());
    const double aspect = std::exp(log_low + (log_high - log_low) * draws.uniform());
    const auto w = static_cast<std::int64_t>(std::lround(std::sqrt(target * aspect)));
    const auto h = static_cast<std::int64_t>(std::lround(std::sqrt(target / aspect)));
    if (w >= 1 && h >= 1 && w <= width && h <= height) {
      const std::int64_t y = draws.below(height - h + 1);
      const std::int64_t x = draws.below(width - w + 1);
      return {static_cast<double>(x), static_cast<double>(y), static_cast<double>(w), static_cast<double>(h)};
    }
  }
  double w = static_cast<double>(width);
  double h = static_cast<double>(height);
  if (w / h < 3.0 / 4.0) {
    h = std::round(w / (3.0 / 4.0));
  } else if (w / h > 4.0 / 3.0) {
    w = std::round(h * (4.0 / 3.0));
  }
  return {std::floor((static_cast<double>(width) - w) / 2), std::floor((static_cast<double>(height) - h) / 2), w, h};
}

/// The square that a centre crop of `size` takes once the shorter side is `resize`.
Region centre_crop(std::int64_t width, std::int64_t height, std::int64_t size, std::int64_t resize) {
  const double shorter = static_cast<double>(std::min(width, height));
  const double side = shorter * static_cast<double>(size) / static_cast<double>(resize);
  return {(static_cast<double>(width) - side) / 2, (static_cast<double>(height) - side) / 2, side, side};
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& root, const ImageFolderOptions& options, std::vector<std::string> classes)
    : root_(root), options_(options), classes_(std::move(classes)) {
  if (options_.image_size < 1) {
    throw ValueError("image_folder", fmt::format("image_size is {}; it must be at least 1", options_.image_size));
  }
  if (options_.resize_size == 0) options_.resize_size = options_.image_size * 256 / 224;
  if (options_.resize_size < options_.image_size) {
    throw ValueError("image_folder", fmt::format("resize_size {} is less than image_size {}; the crop must fit",
                                                 options_.resize_size, options_.image_size));
  }
  options_.normalisation.check(3);
  affine_ = pixel_affine(options_.normalisation);
  const std::vector<std::string> found = sorted_names(root_, [](const auto& entry) { return entry.is_directory(); });
  if (found.empty()) {
    throw DataError("image_folder", fmt::format("{}: no directories; one per class is needed", root_.string()));
  }
  const bool numbered = !classes_.empty();
  if (!numbered) classes_ = found;
  for (const std::string& name : found) {
    const auto at = std::find(classes_.begin(), classes_.end(), name);
    if (at == classes_.end()) {
      throw DataError("image_folder", fmt::format("{}: class '{}' is not among the {} classes of the training set",
                                                  root_.string(), name, classes_.size()));
    }
    add_class(name, static_cast<std::int32_t>(at - classes_.begin()));
  }
}

void ImageFolder::add_class(const std::string& name, std::int32_t label) {
  const std::vector<std::string> files = sorted_names(
      root_ / name, [](const auto& entry) { return is_image_name(entry.path()) && entry.is_regular_file(); });
  if (files.empty()) {
    throw DataError("image_folder", fmt::format("{}: no .jpeg, .jpg or .png file; each class needs at least one",
                                                (root_ / name).string()));
  }
  for (const std::string& file : files) examples_.push_back({name + "/" + file, label});
}

std::string ImageFolder::description() const {
  return fmt::format("{}, {} images 3x{}x{}, {} classes", root_.string(), num_examples(), options_.image_size,
                     options_.image_size, num_classes());
}

void ImageFolder::write_example(const Example& example, bool augment, ExampleDraws draws, float* out,
                                std::int64_t channel_stride) const {
  const fs::path path = root_ / example.file;
  const Bytes bytes = map_file(path);
  const bool mirror = augment && draws.coin() && options_.flip;
  Region region;
  std::int64_t full_width = 0;
  std::int64_t full_height = 0;
  const auto choose = [&](std::int64_t width, std::int64_t height) {
    full_width = width;
    full_height = height;
    region = augment ? random_crop(width, height, options_.min_crop_area, draws)
                     : centre_crop(width, height, options_.image_size, options_.resize_size);
    // The smallest size that still has at least as many pixels as are wanted in both directions.
    int divisor = 8;
    while (divisor > 1 && std::min(region.width, region.height) < static_cast<double>(options_.image_size * divisor)) {
      divisor /= 2;
    }
    return divisor;
  };
  const RgbImage image = decode_image(bytes.view, path.string(), choose);
  if (full_width == 0) choose(image.width, image.height);  // a PNG: decoded in full without asking
  const double sx = static_cast<double>(image.width) / static_cast<double>(full_width);
  const double sy = static_cast<double>(image.height) / static_cast<double>(full_height);
  const Region scaled{region.x * sx, region.y * sy, region.width * sx, region.height * sy};
  resample(image, scaled, options_.image_size, mirror, affine_, out, channel_stride);
}

Batch ImageFolder::batch(std::span<const std::int64_t> indices, const AugmentKey& key) const {
  check_indices(indices);
  const std::int64_t plane = options_.image_size * options_.image_size;
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  Batch out{Tensor::empty({3, count * plane}, DType::f32), Tensor::empty({count}, DType::i32), count};
  const RandomKey draws = data_key(key.seed, DataDraw::augment, key.epoch);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t index = indices[static_cast<std::size_t>(b)];
    const Example& example = examples_[static_cast<std::size_t>(index)];
    write_example(example, key.augment, ExampleDraws(draws, index), out.inputs.data<float>() + b * plane,
                  count * plane);
    out.targets.data<std::int32_t>()[b] = example.label;
  }
  return out;
}

}  // namespace lacuna
