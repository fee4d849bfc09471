// A 3x3 convolution of one or three channels, a network's first, without the unfolded matrix. CUDA alone.
#pragma once

#include <cstdint>

#include "kernels/common/window.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Whether there is a kernel: 3x3 with padding 1, stride 1 or 2 and an output as large as the input or half as large, of
/// a width that four divides; one channel or three.
inline bool conv3x3_applies(std::int64_t in_channels, std::int64_t out_channels, const Window& window) {
  const int s = window.stride;
  return window.kernel == 3 && window.padding == 1 && (s == 1 || s == 2) && window.height == s * window.out_height &&
         window.width == s * window.out_width && window.out_width % 4 == 0 && (in_channels == 1 || in_channels == 3) &&
         out_channels <= (1 << 20);
}

/// y [out_channels, b * ho * wo] = epilogue(w * x), w [out_channels, in_channels * 9] of T, x [in_channels, b * h * w]; f32
/// sums (no TF32), rounded once. x and y begin at multiples of 16 bytes and do not overlap. Where conv3x3_applies.
template <class T>
void conv3x3(CudaStream, std::int64_t in_channels, std::int64_t out_channels, const Window& window, const T* w,
             const T* x, T* y, const Epilogue<const float>& epilogue);

}  // namespace lacuna::kernels
