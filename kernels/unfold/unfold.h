// Unfold (im2col) and fold, its adjoint, in the CNHW layout.
//   c: channels     k: window size     columns [c * k * k, b * ho * wo], row (channel * k + ky) * k + kx
//   images [c, b * h * w]. The views' ld lets a call handle some images of a larger batch.
#pragma once

#include "kernels/common/window.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// columns[(c, ky, kx), (b, oy, ox)] = images[c, (b, oy * stride + ky - padding, ox * stride + kx - padding)], 0 outside.
template <class T>
void unfold(CpuStream, const Dense<const T>& images, const Window& window, const Dense<T>& columns);
template <class T>
void unfold(CudaStream, const Dense<const T>& images, const Window& window, const Dense<T>& columns);

/// images[c, pixel] = sum of the columns' entries that unfold copies from that pixel. Overwrites; a gather on CUDA.
template <class T>
void fold(CpuStream, const Dense<const T>& columns, const Window& window, const Dense<T>& images);
template <class T>
void fold(CudaStream, const Dense<const T>& columns, const Window& window, const Dense<T>& images);

}  // namespace lacuna::kernels
