#include "data/synthetic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/errors.h"
#include "data/random_draws.h"

namespace lacuna {
namespace {

constexpr int kSums = 4 * 255 + 1;  // of four bytes

/// What each sum of four bytes stands for: a table spares a division a pixel.
constexpr std::array<float, kSums> make_normals() {
  constexpr float kDeviation = 147.80166f;  // sqrt(4 * (256^2 - 1) / 12)
  std::array<float, kSums> table{};
  for (int sum = 0; sum < kSums; ++sum)
    table[static_cast<std::size_t>(sum)] = static_cast<float>(sum - 510) / kDeviation;
  return table;
}
constexpr std::array<float, kSums> kNormals = make_normals();

/// Near-normal with mean 0 and deviation 1: the sum of a word's four bytes (Irwin-Hall). Exact in integers, hence the
/// same everywhere, and quicker than Box-Muller.
float near_normal(std::uint32_t word) {
  return kNormals[(word & 0xFF) + ((word >> 8) & 0xFF) + ((word >> 16) & 0xFF) + (word >> 24)];
}

}  // namespace

SyntheticImages::SyntheticImages(const SyntheticImagesOptions& options) : options_(options) {
  const ImageExtent& extent = options_.extent;
  if (options_.num_examples < 1 || options_.num_classes < 1 || extent.channels < 1 || extent.height < 1 ||
      extent.width < 1 || options_.first < 0 || !(options_.noise >= 0)) {
    throw ValueError(
        "synthetic",
        fmt::format("{} examples, {} classes, {}x{}x{}, first {}, noise {}; counts must be at least 1, first "
                    "and noise at least 0",
                    options_.num_examples, options_.num_classes, extent.channels, extent.height, extent.width,
                    options_.first, options_.noise));
  }
  const std::int64_t blocks_x = (extent.width + 3) / 4;
  const std::int64_t blocks_y = (extent.height + 3) / 4;
  const RandomKey key = data_key(options_.seed, DataDraw::prototypes, 0);
  prototypes_.reserve(static_cast<std::size_t>(options_.num_classes * extent.numel()));
  for (std::int64_t plane = 0; plane < options_.num_classes * extent.channels; ++plane) {
    for (std::int64_t y = 0; y < extent.height; ++y) {
      for (std::int64_t x = 0; x < extent.width; x += 4) {
        const std::int64_t block = (plane * blocks_y + y / 4) * blocks_x + x / 4;
        prototypes_.insert(prototypes_.end(), static_cast<std::size_t>(std::min<std::int64_t>(4, extent.width - x)),
                           near_normal(random_word(key, static_cast<std::uint64_t>(block))));
      }
    }
  }
}

std::string SyntheticImages::description() const {
  const ImageExtent& e = options_.extent;
  return fmt::format("synthetic prototypes, {} images {}x{}x{}, {} classes", num_examples(), e.channels, e.height,
                     e.width, num_classes());
}

Batch SyntheticImages::batch(std::span<const std::int64_t> indices, const AugmentKey&) const {
  check_indices(indices);
  const ImageExtent& extent = options_.extent;
  const std::int64_t plane = extent.height * extent.width;
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  Batch out{Tensor::empty({extent.channels, count * plane}, DType::f32), Tensor::empty({count}, DType::i32), count};
  const RandomKey labels = data_key(options_.seed, DataDraw::labels, 0);
  const RandomKey noise = data_key(options_.seed, DataDraw::noise, 0);
  const float deviation = static_cast<float>(options_.noise);
  const std::int64_t blocks_per_example = (extent.numel() + 3) / 4;
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t number = options_.first + indices[static_cast<std::size_t>(b)];
    const std::int64_t label = ExampleDraws(labels, number).below(options_.num_classes);
    const float* prototype = prototypes_.data() + label * extent.numel();
    float* inputs = out.inputs.data<float>() + b * plane;
    Philox4 words{};
    for (std::int64_t c = 0, i = 0; c < extent.channels; ++c) {
      float* channel = inputs + c * count * plane;
      for (std::int64_t p = 0; p < plane; ++p, ++i) {
        if (i % 4 == 0) words = random_block(noise, static_cast<std::uint64_t>(number * blocks_per_example + i / 4));
        channel[p] = prototype[i] + deviation * near_normal(words.v[i % 4]);
      }
    }
    out.targets.data<std::int32_t>()[b] = static_cast<std::int32_t>(label);
  }
  return out;
}

std::vector<std::uint8_t> markov_bytes(std::int64_t count, std::int64_t num_symbols, std::uint64_t seed) {
  if (count < 0 || num_symbols < 4 || num_symbols > 256) {
    throw ValueError("synthetic",
                     fmt::format("{} bytes of {} symbols; the count must not be negative, the symbols 4 to 256", count,
                                 num_symbols));
  }
  // Four distinct successors for each pair.
  const RandomKey table_key = data_key(seed, DataDraw::markov, 0);
  std::vector<std::array<std::uint8_t, 4>> successors(static_cast<std::size_t>(num_symbols * num_symbols));
  for (std::size_t pair = 0; pair < successors.size(); ++pair) {
    ExampleDraws draws(table_key, static_cast<std::int64_t>(pair));
    std::array<std::uint8_t, 4>& next = successors[pair];
    for (std::size_t i = 0; i < 4;) {
      next[i] = static_cast<std::uint8_t>(draws.below(num_symbols));
      bool fresh = true;
      for (std::size_t j = 0; j < i; ++j) fresh &= next[i] != next[j];
      if (fresh) ++i;
    }
  }
  std::vector<std::uint8_t> bytes(static_cast<std::size_t>(count));
  const RandomKey walk_key = data_key(seed, DataDraw::markov, 1);
  std::size_t pair = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    const std::uint32_t draw = random_word(walk_key, i) >> 28;  // sixteenths, as kMarkovProbabilities are
    const std::size_t choice = draw < 10 ? 0 : draw < 13 ? 1 : draw < 15 ? 2 : 3;
    bytes[i] = successors[pair][choice];
    pair = (pair * static_cast<std::size_t>(num_symbols) + bytes[i]) % successors.size();
  }
  return bytes;
}

double markov_entropy() {
  double entropy = 0;
  for (const double p : kMarkovProbabilities) entropy -= p * std::log(p);
  return entropy;
}

}  // namespace lacuna
