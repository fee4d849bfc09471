#include "data/augment.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"

namespace lacuna {

void Normalisation::check(std::int64_t channels) const {
  const auto count = static_cast<std::size_t>(channels);
  if (mean.size() != count || deviation.size() != count) {
    throw ValueError("normalise",
                     fmt::format("{} means and {} deviations for images of {} channels; one each per channel",
                                 mean.size(), deviation.size(), channels));
  }
  for (const double value : deviation) {
    if (!(value > 0)) throw ValueError("normalise", fmt::format("deviation {}; it must be above 0", value));
  }
}

PixelAffine pixel_affine(const Normalisation& normalisation) {
  PixelAffine affine;
  for (std::size_t c = 0; c < normalisation.mean.size(); ++c) {
    affine.scale.push_back(static_cast<float>(1.0 / (255.0 * normalisation.deviation[c])));
    affine.bias.push_back(static_cast<float>(-normalisation.mean[c] / normalisation.deviation[c]));
  }
  return affine;
}

Placement draw_placement(const AugmentOptions& options, const ImageExtent& extent, ExampleDraws draws) {
  Placement placement;
  // Every word is drawn whatever the options, so that switching one off leaves the others' choices alone.
  const std::int64_t range = 2 * options.crop_padding + 1;
  placement.dy = draws.below(range) - options.crop_padding;
  placement.dx = draws.below(range) - options.crop_padding;
  placement.flip = draws.coin() && options.flip;
  const std::int64_t centre_y = draws.below(extent.height);
  const std::int64_t centre_x = draws.below(extent.width);
  if (options.cutout > 0) {
    const std::int64_t half = options.cutout / 2;
    placement.cut_y0 = std::max<std::int64_t>(0, centre_y - half);
    placement.cut_y1 = std::min(extent.height, centre_y - half + options.cutout);
    placement.cut_x0 = std::max<std::int64_t>(0, centre_x - half);
    placement.cut_x1 = std::min(extent.width, centre_x - half + options.cutout);
  }
  return placement;
}

void write_image(const std::uint8_t* pixels, const ImageExtent& extent, const Placement& placement, const float* scale,
                 const float* bias, float* out, std::int64_t channel_stride) {
  const std::int64_t height = extent.height;
  const std::int64_t width = extent.width;
  // Columns [x0, x1) of an unmirrored output row show input pixels; the rest is black.
  const std::int64_t x0 = std::clamp<std::int64_t>(-placement.dx, 0, width);
  const std::int64_t x1 = std::clamp<std::int64_t>(width - placement.dx, x0, width);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(width), 0);  // its black margin is the same in every row
  for (std::int64_t c = 0; c < extent.channels; ++c) {
    const float a = scale[c];
    const float b = bias[c];
    for (std::int64_t y = 0; y < height; ++y) {
      float* to = out + c * channel_stride + y * width;
      const std::int64_t source_y = y + placement.dy;
      if (source_y < 0 || source_y >= height) {
        std::fill(to, to + width, b);
      } else {
        const std::uint8_t* from = pixels + (c * height + source_y) * width;
        const std::uint8_t* line = from;
        if (placement.flip) {
          std::reverse_copy(from + x0 + placement.dx, from + x1 + placement.dx, row.begin() + (width - x1));
          line = row.data();
        } else if (placement.dx != 0) {
          std::copy(from + x0 + placement.dx, from + x1 + placement.dx, row.begin() + x0);
          line = row.data();
        }
        for (std::int64_t x = 0; x < width; ++x) to[x] = static_cast<float>(line[x]) * a + b;
      }
      if (y >= placement.cut_y0 && y < placement.cut_y1) std::fill(to + placement.cut_x0, to + placement.cut_x1, 0.0f);
    }
  }
}

}  // namespace lacuna
