#include "data/resample.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lacuna {
namespace {

/// For each output position the input positions it is made of: taps [first, first + count), weights that add to 1.
struct Taps {
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::size_t weights = 0;  // offset
};

struct Axis {
  std::vector<Taps> taps;
  std::vector<float> weights;
};

Axis plan_axis(double begin, double length, std::int64_t extent, std::int64_t side) {
  Axis axis;
  const double scale = length / static_cast<double>(side);
  const double support = std::max(1.0, scale);
  // Pixels outside the region are not looked at, as if it had been cropped first.
  const auto low = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(begin + 1e-9)), 0, extent - 1);
  const auto high =
      std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(begin + length - 1e-9)), low + 1, extent);
  for (std::int64_t i = 0; i < side; ++i) {
    const double centre = begin + (static_cast<double>(i) + 0.5) * scale;
    Taps taps;
    taps.first = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(centre - support + 0.5)), low, high - 1);
    const auto end =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(centre + support + 0.5)), taps.first + 1, high);
    taps.count = end - taps.first;
    taps.weights = axis.weights.size();
    double total = 0;
    for (std::int64_t p = taps.first; p < end; ++p) {
      const double weight = std::max(0.0, 1.0 - std::abs(static_cast<double>(p) + 0.5 - centre) / support);
      axis.weights.push_back(static_cast<float>(weight));
      total += weight;
    }
    if (total > 0) {
      for (std::size_t w = taps.weights; w < axis.weights.size(); ++w) {
        axis.weights[w] = static_cast<float>(axis.weights[w] / total);
      }
    } else {
      axis.weights[taps.weights] = 1.0f;
    }
    axis.taps.push_back(taps);
  }
  return axis;
}

}  // namespace

void resample(const RgbImage& image, const Region& region, std::int64_t side, bool flip, const PixelAffine& affine,
              float* out, std::int64_t channel_stride) {
  const Axis columns = plan_axis(region.x, region.width, image.width, side);
  const Axis rows = plan_axis(region.y, region.height, image.height, side);
  const std::int64_t first_row = rows.taps.front().first;
  std::int64_t end_row = first_row;
  for (const Taps& taps : rows.taps) end_row = std::max(end_row, taps.first + taps.count);

  // Along x first, for the rows that are needed: [row, channel, side].
  std::vector<float> narrowed(static_cast<std::size_t>((end_row - first_row) * 3 * side));
  for (std::int64_t y = first_row; y < end_row; ++y) {
    const std::uint8_t* from = image.pixels.data() + y * image.width * 3;
    float* to = narrowed.data() + (y - first_row) * 3 * side;
    for (std::int64_t i = 0; i < side; ++i) {
      const Taps& taps = columns.taps[static_cast<std::size_t>(i)];
      const float* weights = columns.weights.data() + taps.weights;
      float r = 0, g = 0, b = 0;
      for (std::int64_t p = 0; p < taps.count; ++p) {
        const std::uint8_t* pixel = from + (taps.first + p) * 3;
        r += weights[p] * pixel[0];
        g += weights[p] * pixel[1];
        b += weights[p] * pixel[2];
      }
      const std::int64_t x = flip ? side - 1 - i : i;
      to[x] = r;
      to[side + x] = g;
      to[2 * side + x] = b;
    }
  }
  std::vector<float> sums(static_cast<std::size_t>(3 * side));
  for (std::int64_t j = 0; j < side; ++j) {
    const Taps& taps = rows.taps[static_cast<std::size_t>(j)];
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (std::int64_t p = 0; p < taps.count; ++p) {
      const float weight = rows.weights[taps.weights + static_cast<std::size_t>(p)];
      const float* from = narrowed.data() + (taps.first + p - first_row) * 3 * side;
      for (std::int64_t x = 0; x < 3 * side; ++x) sums[static_cast<std::size_t>(x)] += weight * from[x];
    }
    for (std::int64_t c = 0; c < 3; ++c) {
      const float a = affine.scale[static_cast<std::size_t>(c)];
      const float b = affine.bias[static_cast<std::size_t>(c)];
      float* to = out + c * channel_stride + j * side;
      for (std::int64_t x = 0; x < side; ++x) to[x] = sums[static_cast<std::size_t>(c * side + x)] * a + b;
    }
  }
}

}  // namespace lacuna
