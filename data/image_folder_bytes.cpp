#include "data/image_folder_bytes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "data/random_draws.h"

namespace lacuna {
namespace {

ImageFolderOptions plain(const ImageFolderBytesOptions& options) {
  ImageFolderOptions o;
  o.image_size = options.image_size;
  o.resize_size = options.resize_size > 0 ? options.resize_size : options.image_size;
  o.normalisation = {{0, 0, 0}, {1.0 / 255, 1.0 / 255, 1.0 / 255}};
  return o;
}

}  // namespace

ImageFolderBytes::ImageFolderBytes(const std::filesystem::path& root, const ImageFolderBytesOptions& options)
    : images_(root, plain(options)), root_(root.string()), flip_(options.flip) {}

std::string ImageFolderBytes::description() const {
  return fmt::format("{} as bytes, {} sequences of {}", root_, num_examples(), sequence_length());
}

Batch ImageFolderBytes::batch(std::span<const std::int64_t> indices, const AugmentKey& key) const {
  const Batch images = images_.batch(indices, {});
  const float* pixels = images.inputs.data<float>();  // [3, count * height * width]
  const auto [channels, height, width] = images_.image();
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  const std::int64_t plane = height * width, length = channels * plane;
  Batch out{Tensor::empty({count * length}, DType::i32), Tensor::empty({count * length}, DType::i32), count};
  const RandomKey draws = data_key(key.seed, DataDraw::augment, key.epoch);
  for (std::int64_t b = 0; b < count; ++b) {
    const bool mirror = key.augment && flip_ && ExampleDraws(draws, indices[static_cast<std::size_t>(b)]).coin();
    std::int32_t* targets = out.targets.data<std::int32_t>() + b * length;
    std::int64_t t = 0;
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        const std::int64_t from = b * plane + y * width + (mirror ? width - 1 - x : x);
        for (std::int64_t c = 0; c < channels; ++c) {
          const float value = std::round(pixels[c * count * plane + from]);
          targets[t++] = static_cast<std::int32_t>(std::clamp(value, 0.0f, 255.0f));
        }
      }
    }
    std::int32_t* inputs = out.inputs.data<std::int32_t>() + b * length;
    inputs[0] = 0;
    std::copy(targets, targets + length - 1, inputs + 1);
  }
  return out;
}

}  // namespace lacuna
