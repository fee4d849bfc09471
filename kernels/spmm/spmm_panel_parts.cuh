// What the panel kernel (spmm_panel.cuh) is made of: copies into shared memory, one step of a row, the sum over a warp.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ void prefetch_l2(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

template <int kBytes>
__device__ __forceinline__ void copy_async(std::uint32_t to, const void* from) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from));
  }
}

__device__ __forceinline__ void store_shared(std::uint32_t to, std::uint32_t x) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}

__device__ __forceinline__ void load_shared(float (&to)[4], std::uint32_t from) {
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3])
               : "r"(from));
}

__device__ __forceinline__ void load_shared(std::uint32_t (&to)[4], std::uint32_t from) {
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from));
}

/// sums += four entries times B. `base` is this lane's shared address of B's row 0, had the panel that row; its vectors
/// of four columns lie kLanes * 16 bytes apart.
template <class S>
__device__ __forceinline__ void add_four(float (&sums)[S::kVectors][4], const std::uint32_t (&columns)[4],
                                         const float (&values)[4], std::uint32_t base) {
  float b[4][S::kVectors][4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) load_shared(b[i][v], base + columns[i] * S::kRowBytes + v * S::kLanes * 16);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) {
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[v][j] = fmaf(values[i], b[i][v][j], sums[v][j]);
    }
  }
}

/// Adds up over the warp's groups of lanes, each of which holds all of the tile's columns: every lane is left with
/// S::kColumns neighbouring columns of them, from first_column on.
template <class S>
__device__ __forceinline__ void sum_groups(float (&out)[S::kColumns], const float (&sums)[S::kVectors][4], int lane) {
  const bool upper = lane & 16, odd = lane & 8;
  if constexpr (S::kVectors == 2) {  // lanes below 16 keep the first vector, the others the second
    float kept[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float other = __shfl_xor_sync(kAllLanes, upper ? sums[0][j] : sums[1][j], 16);
      kept[j] = (upper ? sums[1][j] : sums[0][j]) + other;
    }
    if constexpr (S::kGroups == 2) {
#pragma unroll
      for (int j = 0; j < 4; ++j) out[j] = kept[j];
    } else {
#pragma unroll
      for (int j = 0; j < 2; ++j)
        out[j] = (odd ? kept[j + 2] : kept[j]) + __shfl_xor_sync(kAllLanes, odd ? kept[j] : kept[j + 2], 8);
    }
  } else {
    float kept[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float other = __shfl_xor_sync(kAllLanes, upper ? sums[0][j] : sums[0][j + 2], 16);
      kept[j] = (upper ? sums[0][j + 2] : sums[0][j]) + other;
    }
    out[0] = (odd ? kept[1] : kept[0]) + __shfl_xor_sync(kAllLanes, odd ? kept[0] : kept[1], 8);
  }
}

/// The tile's column that sum_groups leaves in out[0].
template <class S>
__device__ __forceinline__ int first_column(int lane) {
  if constexpr (S::kTile == 32) return 4 * (lane % 8) + 2 * (lane / 16) + lane / 8 % 2;
  if constexpr (S::kTile == 64) return 32 * (lane / 16) + 4 * (lane % 8) + 2 * (lane / 8 % 2);
  return 64 * (lane / 16) + 4 * (lane % 16);
}

}  // namespace lacuna::kernels
