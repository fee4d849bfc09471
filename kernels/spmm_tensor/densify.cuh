// A as high and low halves: two dense f16 matrices, zeros where nothing is stored.
#pragma once

#include <cuda_fp16.h>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

struct SpmmTensorCopies {
  std::uint16_t* high;  // f16 [m, ld]; the low halves follow, at high + m * ld
  std::int64_t ld;      // k rounded up to eight
  float* factors;       // [m]
  float* b;             // [k, b_ld], a copy of B with rows on 16 bytes; null where B is read as it is
  std::int64_t b_ld;
};

constexpr int kDensifyChunk = 8192;  // columns, of all of a block's rows together, in shared memory at once

/// kThreads threads a row, kRows rows a block: each value, divided by the power of two below the row's largest and brought
/// to [2^14, 2^15), as the sum of two f16. kKept entries a thread stay in registers, more are read twice. Blocks past the
/// rows copy B.
template <int kThreads, int kRows, int kKept>
__global__ void __launch_bounds__(kThreads* kRows)
    spmm_tensor_densify_kernel(const Csr<const float> a, const Dense<const float> b, const SpmmTensorCopies out) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
  // Only now: the product reads B before it waits for this kernel, and what made B must be done by then.
  cudaTriggerProgrammaticLaunchCompletion();
#endif
  constexpr int kWarps = kThreads / 32, kColumns = kDensifyChunk / kRows;
  extern __shared__ uint4 memory_of_rows[];
  __shared__ unsigned shared[kRows * kWarps];
  const std::int64_t row_blocks = (a.rows + kRows - 1) / kRows;
  if (blockIdx.x >= row_blocks) {
    const int lane = threadIdx.x % 32;
    constexpr int kBlockWarps = kWarps * kRows;
    const std::int64_t step = (gridDim.x - row_blocks) * kBlockWarps;
    for (std::int64_t row = (blockIdx.x - row_blocks) * kBlockWarps + threadIdx.x / 32; row < b.rows; row += step) {
#pragma unroll 2
      for (std::int64_t column = lane; column < out.b_ld; column += 32)
        out.b[row * out.b_ld + column] = column < b.cols ? __ldg(b.data + (row * b.ld + column)) : 0.0f;
    }
    return;
  }
  const int thread = static_cast<int>(threadIdx.x) % kThreads, row_in_block = static_cast<int>(threadIdx.x) / kThreads;
  const std::int64_t row = std::int64_t{blockIdx.x} * kRows + row_in_block;
  const bool inside = row < a.rows;
  const std::int32_t begin = inside ? a.row_offsets[row] : 0, end = inside ? a.row_offsets[row + 1] : 0;
  float kept[kKept];
  int columns[kKept];
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const std::int32_t at = begin + i * kThreads + thread;
    kept[i] = at < end ? __ldg(a.values + at) : 0.0f;
    columns[i] = at < end ? __ldg(a.col_indices + at) : -1;
  }
  const std::int32_t rest = begin + kKept * kThreads + thread;
  unsigned most = 0;  // magnitudes are ordered as their bits are
  for (std::int32_t at = rest; at < end; at += kThreads) most = max(most, __float_as_uint(a.values[at]) & 0x7fffffff);
#pragma unroll
  for (int i = 0; i < kKept; ++i) most = max(most, __float_as_uint(kept[i]) & 0x7fffffff);
  most = __reduce_max_sync(0xffffffffu, most);
  if (thread % 32 == 0) shared[row_in_block * kWarps + thread / 32] = most;

  unsigned exponent = 0;
  float scale = 0;
  for (std::int64_t first = 0; first < out.ld || first == 0; first += kColumns) {
    const int width = static_cast<int>(out.ld - first < kColumns ? out.ld - first : kColumns);
    uint4* chunk = memory_of_rows + row_in_block * (width / 4);  // high halves, then low ones
    for (int i = thread; i < width / 4; i += kThreads) chunk[i] = make_uint4(0, 0, 0, 0);
    __syncthreads();  // of the largest, too
    if (first == 0) {
#pragma unroll
      for (int i = 0; i < kWarps; ++i) most = max(most, shared[row_in_block * kWarps + i]);
      // The scale's exponent, 268 - this, must exist; a row that is not finite gets a finite scale and stays so.
      exponent = min(max(most >> 23, 15u), 254u);
      scale = __uint_as_float((268 - exponent) << 23);
    }
    auto* high = reinterpret_cast<std::uint16_t*>(chunk);
    std::uint16_t* low = high + width;
    const auto put = [&](std::int64_t column, float value) {
      if (column < first || column >= first + width) return;
      const float x = value * scale;
      const __half upper = __float2half_rn(x), lower = __float2half_rn(x - __half2float(upper));
      high[column - first] = __half_as_ushort(upper);
      low[column - first] = __half_as_ushort(lower);
    };
#pragma unroll
    for (int i = 0; i < kKept; ++i) put(columns[i], kept[i]);
    for (std::int32_t at = rest; at < end; at += kThreads) put(a.col_indices[at], a.values[at]);
    __syncthreads();
    if (inside) {
      auto* to_high = reinterpret_cast<uint4*>(out.high + (row * out.ld + first));
      auto* to_low = reinterpret_cast<uint4*>(out.high + ((a.rows + row) * out.ld + first));
      for (int i = thread; i < width / 8; i += kThreads) to_high[i] = chunk[i], to_low[i] = chunk[width / 8 + i];
    }
    if (first + kColumns < out.ld) __syncthreads();
  }
  if (inside && thread == 0) out.factors[row] = __uint_as_float(exponent << 23);
}

}  // namespace lacuna::kernels
