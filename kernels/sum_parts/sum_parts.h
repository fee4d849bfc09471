// Adds equal parts of a sum elementwise, in a fixed order and in double: the second stage of a product whose inner
// dimension was cut into pieces.
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// out[i] = sum over s of parts[s, i]:  parts [count, n]  ->  out [n]. Zeros where count is 0. out must not overlap parts.
template <class T>
void sum_parts(CpuStream, const T* parts, std::int64_t count, std::int64_t n, T* out);
template <class T>
void sum_parts(CudaStream, const T* parts, std::int64_t count, std::int64_t n, T* out);

}  // namespace lacuna::kernels
