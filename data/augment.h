// Augmentation and normalisation of images that are held as u8 planes.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"
#include "data/random_draws.h"

namespace lacuna {

/// Per channel: value = (pixel / 255 - mean) / deviation.
struct Normalisation {
  std::vector<double> mean;
  std::vector<double> deviation;
  /// Throws ValueError unless both have one entry per channel and the deviations are positive.
  void check(std::int64_t channels) const;
};

inline const Normalisation kCifar10Normalisation{{0.4914, 0.4822, 0.4465}, {0.2470, 0.2435, 0.2616}};
inline const Normalisation kCifar100Normalisation{{0.5071, 0.4865, 0.4409}, {0.2673, 0.2564, 0.2762}};
inline const Normalisation kImageNetNormalisation{{0.485, 0.456, 0.406}, {0.229, 0.224, 0.225}};

/// What training adds; the default does nothing.
struct AugmentOptions {
  int crop_padding = 0;  ///< shift by up to this many pixels each way; black moves in, as with torchvision's RandomCrop
  bool flip = false;     ///< mirror left-right with probability 1/2
  int cutout = 0;        ///< side of a square set to the mean (DeVries & Taylor 2017), centred anywhere; 0 = none
};

/// The choices made for one image.
struct Placement {
  std::int64_t dy = 0, dx = 0;  ///< output pixel (y, x) shows input pixel (y + dy, x + dx), black outside
  bool flip = false;            ///< mirror after the shift
  std::int64_t cut_y0 = 0, cut_y1 = 0, cut_x0 = 0, cut_x1 = 0;  ///< output rows and columns set to 0, half-open
};

Placement draw_placement(const AugmentOptions& options, const ImageExtent& extent, ExampleDraws draws);

/// Writes one image, u8 [c, h, w], as normalised floats: channel c goes to out + c * channel_stride, [h, w] contiguous.
/// `scale` and `bias` are per channel: value = pixel * scale + bias.
void write_image(const std::uint8_t* pixels, const ImageExtent& extent, const Placement& placement, const float* scale,
                 const float* bias, float* out, std::int64_t channel_stride);

/// The affine form of a normalisation, for write_image.
struct PixelAffine {
  std::vector<float> scale;
  std::vector<float> bias;
};
PixelAffine pixel_affine(const Normalisation& normalisation);

}  // namespace lacuna
