// Resizing of a region of an image, with antialiasing.
#pragma once

#include <cstdint>

#include "data/augment.h"
#include "data/image_codec.h"

namespace lacuna {

/// A region in pixels; edges may lie between pixels.
struct Region {
  double x = 0;
  double y = 0;
  double width = 0;
  double height = 0;
};

/// Resizes `region` to side x side with the triangle filter, widened by the reduction as PIL and torchvision
/// (antialias) do; normalises; writes channel c to out + c * channel_stride, [side, side] contiguous. `flip` mirrors
/// left-right. The region must lie in the image and hold at least part of one pixel.
void resample(const RgbImage& image, const Region& region, std::int64_t side, bool flip, const PixelAffine& affine,
              float* out, std::int64_t channel_stride);

}  // namespace lacuna
