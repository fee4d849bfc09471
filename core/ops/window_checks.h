// What the window ops (convolution, pooling) check and hand to their kernels.
#pragma once

#include "core/ops/checks.h"
#include "core/ops/conv.h"
#include "kernels/common/window.h"

namespace lacuna {

/// The kernels' view of a window op. Throws as conv_output.
inline kernels::Window window_of(const ImageShape& image, const ConvSpec& spec) {
  const ImageShape out = conv_output(image, spec);
  return {static_cast<int>(image.batch), static_cast<int>(image.height), static_cast<int>(image.width),
          static_cast<int>(out.height),  static_cast<int>(out.width),    spec.kernel,
          spec.stride,                   spec.padding};
}

inline std::string describe(const ImageShape& image) {
  return std::to_string(image.batch) + " images of " + std::to_string(image.height) + " x " + std::to_string(image.width);
}

/// x [any, b*h*w].
inline void require_images(const char* op, const char* name, const Tensor& x, const ImageShape& image) {
  require_rank(op, name, x, 2);
  if (x.dim(1) != image.columns()) {
    throw ShapeError(op, std::string(name) + " is " + describe(x) + ", for " + describe(image) +
                             "; its columns must be batch * height * width = " + std::to_string(image.columns()));
  }
}

}  // namespace lacuna
