// Sums down the columns of a matrix, in a fixed order: chunks of rows, then the chunks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

template <class T>
std::size_t sum_rows_scratch_bytes(CpuStream, std::int64_t rows, std::int64_t cols);
template <class T>
std::size_t sum_rows_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t cols);
/// out[j] = sum over i of x[i, j]: x one matrix [rows, cols], out [cols]. Zeros without rows.
template <class T>
void sum_rows(CpuStream, const Dense<const T>& x, acc_t<T>* out, void* scratch);
template <class T>
void sum_rows(CudaStream, const Dense<const T>& x, acc_t<T>* out, void* scratch);

}  // namespace lacuna::kernels
