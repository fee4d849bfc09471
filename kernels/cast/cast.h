// Conversion between the float types. To bf16: to nearest, ties to even; NaN stays NaN.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[i] = x[i]. CPU: float, double and Bf16 into one another; CUDA: float and Bf16. x and y do not overlap.
template <class From, class To>
void cast(CpuStream, const From* x, To* y, std::int64_t n);
template <class From, class To>
void cast(CudaStream, const From* x, To* y, std::int64_t n);

}  // namespace lacuna::kernels
