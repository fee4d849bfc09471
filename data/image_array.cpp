#include "data/image_array.h"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "core/errors.h"

namespace lacuna {
namespace {

std::vector<std::int64_t> checked_selection(const ImageArrayPtr& images, std::vector<std::int64_t> selection) {
  if (selection.empty()) {
    selection.resize(static_cast<std::size_t>(images->size()));
    std::iota(selection.begin(), selection.end(), std::int64_t{0});
  }
  for (const std::int64_t i : selection) {
    if (i < 0 || i >= images->size()) {
      throw IndexError("images", fmt::format("selection holds {}; {} has {} images", i, images->name, images->size()));
    }
  }
  return selection;
}

}  // namespace

Normalisation measure_normalisation(const ImageArray& images, const std::vector<std::int64_t>& selection) {
  const auto channels = static_cast<std::size_t>(images.extent.channels);
  const std::int64_t plane = images.extent.height * images.extent.width;
  std::vector<std::uint64_t> sums(channels, 0);
  std::vector<std::uint64_t> squares(channels, 0);
  const std::int64_t count = selection.empty() ? images.size() : static_cast<std::int64_t>(selection.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::uint8_t* pixels = images.image(selection.empty() ? i : selection[static_cast<std::size_t>(i)]);
    for (std::size_t c = 0; c < channels; ++c, pixels += plane) {
      std::uint64_t sum = 0;
      std::uint64_t square = 0;
      for (std::int64_t p = 0; p < plane; ++p) {
        const std::uint64_t value = pixels[p];
        sum += value;
        square += value * value;
      }
      sums[c] += sum;
      squares[c] += square;
    }
  }
  Normalisation result;
  const double total = std::max(1.0, static_cast<double>(count) * static_cast<double>(plane));
  for (std::size_t c = 0; c < channels; ++c) {
    const double mean = static_cast<double>(sums[c]) / total;
    const double variance = static_cast<double>(squares[c]) / total - mean * mean;
    result.mean.push_back(mean / 255.0);
    result.deviation.push_back(variance > 0 ? std::sqrt(variance) / 255.0 : 1.0);  // constant images stay finite
  }
  return result;
}

ImageArrayDataset::ImageArrayDataset(ImageArrayPtr images, std::vector<std::int64_t> selection,
                                     const Normalisation& normalisation, const AugmentOptions& augment)
    : images_(std::move(images)), selection_(checked_selection(images_, std::move(selection))), augment_(augment) {
  normalisation.check(images_->extent.channels);
  affine_ = pixel_affine(normalisation);
}

std::string ImageArrayDataset::description() const {
  const ImageExtent& e = images_->extent;
  return fmt::format("{}, {} images {}x{}x{}, {} classes", images_->name, num_examples(), e.channels, e.height, e.width,
                     num_classes());
}

Batch ImageArrayDataset::batch(std::span<const std::int64_t> indices, const AugmentKey& key) const {
  check_indices(indices);
  const ImageExtent& extent = images_->extent;
  const std::int64_t plane = extent.height * extent.width;
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  Batch out{Tensor::empty({extent.channels, count * plane}, DType::f32), Tensor::empty({count}, DType::i32), count};
  float* inputs = out.inputs.data<float>();
  std::int32_t* targets = out.targets.data<std::int32_t>();
  const RandomKey draws = data_key(key.seed, DataDraw::augment, key.epoch);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t index = indices[static_cast<std::size_t>(b)];
    const std::int64_t source = selection_[static_cast<std::size_t>(index)];
    const Placement placement =
        key.augment ? draw_placement(augment_, extent, ExampleDraws(draws, index)) : Placement{};
    write_image(images_->image(source), extent, placement, affine_.scale.data(), affine_.bias.data(),
                inputs + b * plane, count * plane);
    targets[b] = images_->labels[static_cast<std::size_t>(source)];
  }
  return out;
}

ImageBytes::ImageBytes(ImageArrayPtr images, std::vector<std::int64_t> selection, bool flip)
    : images_(std::move(images)), selection_(checked_selection(images_, std::move(selection))), flip_(flip) {}

std::string ImageBytes::description() const {
  return fmt::format("{} as bytes, {} sequences of {}", images_->name, num_examples(), sequence_length());
}

Batch ImageBytes::batch(std::span<const std::int64_t> indices, const AugmentKey& key) const {
  check_indices(indices);
  const auto [channels, height, width] = images_->extent;
  const std::int64_t length = sequence_length();
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  Batch out{Tensor::empty({count * length}, DType::i32), Tensor::empty({count * length}, DType::i32), count};
  const RandomKey draws = data_key(key.seed, DataDraw::augment, key.epoch);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t index = indices[static_cast<std::size_t>(b)];
    const std::uint8_t* pixels = images_->image(selection_[static_cast<std::size_t>(index)]);
    const bool mirror = key.augment && flip_ && ExampleDraws(draws, index).coin();
    std::int32_t* targets = out.targets.data<std::int32_t>() + b * length;
    std::int64_t t = 0;
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        const std::int64_t from = y * width + (mirror ? width - 1 - x : x);
        for (std::int64_t c = 0; c < channels; ++c) targets[t++] = pixels[c * height * width + from];
      }
    }
    std::int32_t* inputs = out.inputs.data<std::int32_t>() + b * length;
    inputs[0] = 0;
    std::copy(targets, targets + length - 1, inputs + 1);
  }
  return out;
}

}  // namespace lacuna
