// Depthwise convolution in the CNHW layout: channel c of the output is channel c of the input under its own k x k filter.
//   x, dx [c, b * h * w]     y, dy [c, b * ho * wo]     w, dw [c, k * k]     all contiguous
#pragma once

#include <cstddef>

#include "kernels/common/window.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[c, (b, oy, ox)] = sum over ky, kx of w[c, (ky, kx)] * x[c, (b, oy * stride + ky - padding, ox * stride + kx - padding)].
/// What is stored is activation(y + epilogue.bias[c]).
template <class T>
void depthwise(CpuStream, std::int64_t channels, const Window& window, const T* w, const T* x, T* y,
               const Epilogue<const T>& epilogue = {});
template <class T>
void depthwise(CudaStream, std::int64_t channels, const Window& window, const T* w, const T* x, T* y,
               const Epilogue<const T>& epilogue = {});

/// Gradient with respect to x, overwritten.
template <class T>
void depthwise_dx(CpuStream, std::int64_t channels, const Window& window, const T* w, const T* dy, T* dx);
template <class T>
void depthwise_dx(CudaStream, std::int64_t channels, const Window& window, const T* w, const T* dy, T* dx);

/// Gradient with respect to w, overwritten: a sum over b * ho * wo, in two stages on CUDA.
template <class T>
std::size_t depthwise_dw_scratch_bytes(CpuStream, std::int64_t channels, const Window& window);
template <class T>
std::size_t depthwise_dw_scratch_bytes(CudaStream, std::int64_t channels, const Window& window);
template <class T>
void depthwise_dw(CpuStream, std::int64_t channels, const Window& window, const T* x, const T* dy, T* dw, void* scratch);
template <class T>
void depthwise_dw(CudaStream, std::int64_t channels, const Window& window, const T* x, const T* dy, T* dw, void* scratch);

}  // namespace lacuna::kernels
