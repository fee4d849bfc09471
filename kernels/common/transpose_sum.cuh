// Eight sums over the lanes of a subwarp at once. Device code only.
#pragma once

namespace lacuna::kernels {

/// Sums each of sums[0..8) over the subwarp of kLanes; afterwards lane j of it (and j + 8, ...) returns the sum of entry j.
/// Seven exchanges and log2(kLanes / 8), instead of 8 log2(kLanes): each step halves the entries a lane still carries.
template <int kLanes>
__device__ __forceinline__ float transpose_sum(float (&sums)[8], int lane) {
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const bool upper = lane & half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float keep = upper ? sums[i + half] : sums[i];
      const float give = upper ? sums[i] : sums[i + half];
      sums[i] = keep + __shfl_xor_sync(0xffffffffu, give, half);
    }
  }
#pragma unroll
  for (int offset = 8; offset < kLanes; offset *= 2) sums[0] += __shfl_xor_sync(0xffffffffu, sums[0], offset);
  return sums[0];
}

}  // namespace lacuna::kernels
