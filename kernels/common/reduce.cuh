// Device-side reductions in a fixed order. Device code only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int kWarp = 32;

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ double warp_sum(double value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

__device__ __forceinline__ float warp_max(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

/// Sums kCount values over a one-dimensional block of whole warps; every thread gets the sums.
/// `shared` is [kCount * kWarp] floats, free to reuse after the call's last barrier.
template <int kCount>
__device__ __forceinline__ void block_sum(float (&values)[kCount], float* shared) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int num_warps = blockDim.x / kWarp;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    values[i] = warp_sum(values[i]);
    if (lane == 0) shared[i * kWarp + warp] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = warp_sum(lane < num_warps ? shared[i * kWarp + lane] : 0.0f);
  __syncthreads();
}

/// Largest value of a block, as block_sum.
__device__ __forceinline__ float block_max(float value, float* shared) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  value = warp_max(value);
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  value = warp_max(lane < static_cast<int>(blockDim.x) / kWarp ? shared[lane] : __int_as_float(0xff800000));
  __syncthreads();
  return value;
}

/// Stage two of a sum: out[row] = the row's `count` partials, one warp per row, in double. Launch with kSumThreads.
inline constexpr int kSumThreads = 128;
static __global__ void sum_partials(const float* __restrict__ partials, std::int64_t rows, std::int64_t count,
                                    float* __restrict__ out) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x) / kWarp;
  if (row >= rows) return;
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (std::int64_t i = lane; i < count; i += kWarp) sum += partials[row * count + i];
  sum = warp_sum(sum);
  if (lane == 0) out[row] = static_cast<float>(sum);
}

inline unsigned sum_partials_blocks(std::int64_t rows) {
  return static_cast<unsigned>((rows * kWarp + kSumThreads - 1) / kSumThreads);
}

}  // namespace lacuna::kernels
