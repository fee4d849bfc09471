// Sums within a block in a fixed order. Device only.
#pragma once

namespace lacuna::kernels {

/// Sum over a warp, in every lane of it; the butterfly's order is fixed. All 32 lanes must call.
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

/// Sum over a block of kBlockThreads (a multiple of 32, at most 1024) threads, valid in thread 0. All must call; to call it
/// again, __syncthreads() first.
template <int kBlockThreads, class T>
__device__ __forceinline__ T block_sum(T value) {
  static_assert(kBlockThreads % 32 == 0 && kBlockThreads <= 1024);
  __shared__ T warps[kBlockThreads / 32];
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
  __syncthreads();
  if (threadIdx.x < 32) {
    value = threadIdx.x < kBlockThreads / 32 ? warps[threadIdx.x] : T(0);
    value = warp_sum(value);
  }
  return value;
}

}  // namespace lacuna::kernels
