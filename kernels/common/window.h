// Geometry of a window that slides over a batch of images (convolution, pooling), in the CNHW layout: one channel is
// `batch` images of height x width, contiguous. Square windows, the same stride and padding on both axes.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lacuna::kernels {

struct Window {
  int batch = 0;
  int height = 0;      ///< of the input
  int width = 0;
  int out_height = 0;  ///< (height + 2 padding - kernel) / stride + 1
  int out_width = 0;
  int kernel = 1;
  int stride = 1;
  int padding = 0;

  constexpr std::int64_t taps() const { return std::int64_t{kernel} * kernel; }
  constexpr std::int64_t image_size() const { return std::int64_t{height} * width; }
  constexpr std::int64_t out_image_size() const { return std::int64_t{out_height} * out_width; }
  /// Elements of one channel; core checks that both fit 31 bits.
  constexpr std::int64_t size() const { return batch * image_size(); }
  constexpr std::int64_t out_size() const { return batch * out_image_size(); }
};

/// The outputs whose tap lands inside the input, along one axis: half-open, empty when begin >= end.
struct OutputRange {
  int begin;
  int end;
};

inline OutputRange outputs_inside(int tap, const Window& window, int extent, int out_extent) {
  // Output o reads o * stride + tap - padding, which must lie in [0, extent).
  const int lowest = window.padding - tap;
  const int begin = lowest > 0 ? (lowest + window.stride - 1) / window.stride : 0;
  const int highest = extent - 1 + window.padding - tap;
  const int end = highest < 0 ? 0 : highest / window.stride + 1;
  return {begin, std::min(end, out_extent)};
}

}  // namespace lacuna::kernels
