// Pooling in the CNHW layout.
//   x, dx [c, b * h * w]     y, dy [c, b * ho * wo]     all contiguous
#pragma once

#include "kernels/common/window.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[s] = mean of x[s * length, (s + 1) * length): the mean of each image of each channel.
template <class T>
void segment_mean(CpuStream, std::int64_t segments, std::int64_t length, const T* x, T* y);
template <class T>
void segment_mean(CudaStream, std::int64_t segments, std::int64_t length, const T* x, T* y);

/// dx[s * length + i] = dy[s] / length.
template <class T>
void segment_mean_dx(CpuStream, std::int64_t segments, std::int64_t length, const T* dy, T* dx);
template <class T>
void segment_mean_dx(CudaStream, std::int64_t segments, std::int64_t length, const T* dy, T* dx);

/// Mean over the window; padding counts as zeros, the divisor is always k * k (torch's count_include_pad).
template <class T>
void avg_pool(CpuStream, std::int64_t channels, const Window& window, const T* x, T* y);
template <class T>
void avg_pool(CudaStream, std::int64_t channels, const Window& window, const T* x, T* y);
template <class T>
void avg_pool_dx(CpuStream, std::int64_t channels, const Window& window, const T* dy, T* dx);
template <class T>
void avg_pool_dx(CudaStream, std::int64_t channels, const Window& window, const T* dy, T* dx);

/// Largest value in the window, padding left out; the first one (or the first NaN) wins.
/// `chosen`, i32 like y or null, gets its pixel as row * width + column within its image.
template <class T>
void max_pool(CpuStream, std::int64_t channels, const Window& window, const T* x, T* y, std::int32_t* chosen);
template <class T>
void max_pool(CudaStream, std::int64_t channels, const Window& window, const T* x, T* y, std::int32_t* chosen);
template <class T>
void max_pool_dx(CpuStream, std::int64_t channels, const Window& window, const T* dy, const std::int32_t* chosen, T* dx);
template <class T>
void max_pool_dx(CudaStream, std::int64_t channels, const Window& window, const T* dy, const std::int32_t* chosen, T* dx);

}  // namespace lacuna::kernels
