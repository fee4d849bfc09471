// 3x3 depthwise convolution by packs of neighbouring columns (CUDA), for the windows that fill a MobileNet: padding 1, stride
// 1 or an input twice the output's size at stride 2, even widths. Each function returns false, having done nothing,
// where the window or an address is not of that kind; kernels/depthwise/depthwise.cu takes those.
#pragma once

#include <cstdint>

#include "kernels/common/window.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// As depthwise(): the same bits as its other CUDA kernel. With `flip` under the filter turned by half a turn.
template <class T>
bool depthwise_packs(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* x, T* y,
                     const float* bias, bool relu, bool flip);

/// As depthwise_dx() at stride 2; takes odd output widths as well.
template <class T>
bool depthwise_packs_dx(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* dy,
                        T* dx);

/// Stage one of depthwise_dw(): how many partial sums each of the 9 * channels numbers has; 0 where the window is not of
/// this kind.
std::int64_t depthwise_packs_dw_count(CudaStream stream, std::int64_t channels, const Window& window);
/// partials [channels * 9, count].
template <class T>
bool depthwise_packs_dw(CudaStream stream, std::int64_t channels, const Window& window, const T* x, const T* dy,
                        float* partials);

}  // namespace lacuna::kernels
