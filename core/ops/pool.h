// Pooling over CNHW images (core/ops/conv.h has the layout).
#pragma once

#include "core/ops/conv.h"

namespace lacuna {

/// Mean of each image of each channel:  x [c, b*h*w]  ->  [c, b].
/// Throws ShapeError, DtypeError. Gradient: dy / (h * w) everywhere.
Tensor global_avg_pool(const Tensor& x, const ImageShape& image);
Var global_avg_pool(const Var& x, const ImageShape& image);

/// Mean of each window:  x [c, b*h*w]  ->  [c, b*ho*wo]. Padding counts as zeros and the divisor is always
/// kernel squared, as PyTorch's default. Throws ShapeError, DtypeError, ValueError (padding above half the window).
Tensor avg_pool2d(const Tensor& x, const ImageShape& image, const ConvSpec& spec);
Var avg_pool2d(const Var& x, const ImageShape& image, const ConvSpec& spec);

/// Largest value of each window, padding left out; NaN wins:  x [c, b*h*w]  ->  [c, b*ho*wo]. Throws as avg_pool2d.
/// Gradient: to the first of the largest; keeps its position, an i32 per output.
Tensor max_pool2d(const Tensor& x, const ImageShape& image, const ConvSpec& spec);
Var max_pool2d(const Var& x, const ImageShape& image, const ConvSpec& spec);

}  // namespace lacuna
