// Convolutions over CNHW images.
//   c, cin, cout: channels   b, h, w: batch, height, width   ho, wo: of the output   k: window size
//   images [c, b * h * w]: column (image * h + y) * w + x
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/var.h"

namespace lacuna {

struct ImageShape {
  std::int64_t batch = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t columns() const { return batch * height * width; }
  bool operator==(const ImageShape&) const = default;
};

/// A square window, the same on both axes.
struct ConvSpec {
  int kernel = 3;
  int stride = 1;
  int padding = 1;
};

/// Extents after a window op: (size + 2 padding - kernel) / stride + 1, rounded down.
/// Throws ValueError (kernel or stride below 1, padding below 0), ShapeError (nothing left), IndexError (columns past 2^31 - 1).
ImageShape conv_output(const ImageShape& image, const ConvSpec& spec);

/// im2col:  x [c, b*h*w]  ->  [c*k*k, b*ho*wo], row (channel * k + ky) * k + kx, 0 where the window leaves the image.
/// Throws ShapeError, DtypeError. Gradient: fold.
Tensor unfold(const Tensor& x, const ImageShape& image, const ConvSpec& spec);
Var unfold(const Var& x, const ImageShape& image, const ConvSpec& spec);

/// Adjoint of unfold, where overlapping entries add up:  columns [c*k*k, b*ho*wo]  ->  [c, b*h*w].
/// `image` is the shape of the result. Throws ShapeError, DtypeError. Gradient: unfold.
Tensor fold(const Tensor& columns, const ImageShape& image, const ConvSpec& spec);
Var fold(const Var& columns, const ImageShape& image, const ConvSpec& spec);

/// Largest unfolded matrix that conv2d makes at a time.
inline constexpr std::size_t kUnfoldedBytes = std::size_t{512} << 20;

/// linear(w, unfold(x), bias):  w [cout, cin*k*k],  x [cin, b*h*w],  bias [cout] or undefined  ->  [cout, b*ho*wo].
/// Unfolds as many images at a time as fit `unfolded_bytes` (at least one). The unfolded matrix is not kept for the
/// backward pass but made again. Throws ShapeError, DtypeError, DeviceError.
/// Gradients: dw = dy unfold(x)^T (f32 for bf16);  dx = fold(w^T dy);  dbias = sum_columns(dy).
/// The tensor form may apply an activation, fused into the product.
Tensor conv2d(const Tensor& w, const Tensor& x, const Tensor& bias, const ImageShape& image, const ConvSpec& spec,
              std::size_t unfolded_bytes = kUnfoldedBytes, Activation activation = Activation::none);
Var conv2d(const Var& w, const Var& x, const Var& bias, const ImageShape& image, const ConvSpec& spec,
           std::size_t unfolded_bytes = kUnfoldedBytes);

/// Each channel under its own filter:  w [c, k*k] (f32 beside bf16 x),  x [c, b*h*w]  ->  [c, b*ho*wo].
/// Throws ShapeError, DtypeError, DeviceError. Gradients: dw[c, tap] = sum of dy times the shifted x; dx: the adjoint.
Tensor depthwise_conv2d(const Tensor& w, const Tensor& x, const ImageShape& image, const ConvSpec& spec);
Var depthwise_conv2d(const Var& w, const Var& x, const ImageShape& image, const ConvSpec& spec);

/// activation(depthwise_conv2d(w, x) + bias[channel]), for inference (a folded norm):  bias [c] or undefined. One
/// kernel; the same bits as add_bias and activation after it give. Throws as without.
Tensor depthwise_conv2d(const Tensor& w, const Tensor& x, const ImageShape& image, const ConvSpec& spec,
                        const Tensor& bias, Activation activation);

}  // namespace lacuna
