// The panel kernel's inner loop: entries of four rows, one per eight lanes, times rows of B that lie in shared memory.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr std::uint32_t kNoColumn = 0xffffffffu;  // past every column

/// Loads 16 bytes of shared memory where `wanted`; elsewhere `to` is left as it is and must not be used.
__device__ __forceinline__ void load_where(float (&to)[4], std::uint32_t from, int wanted) {
  asm volatile("{ .reg .pred p; setp.ne.s32 p, %5, 0; @p ld.shared.v4.f32 {%0, %1, %2, %3}, [%4]; }"
               : "+f"(to[0]), "+f"(to[1]), "+f"(to[2]), "+f"(to[3])
               : "r"(from), "r"(wanted));
}

/// sums += value * b where `wanted`: predicated, since b may hold anything elsewhere.
__device__ __forceinline__ void add_where(float (&sums)[4], float value, const float (&b)[4], int wanted) {
  asm volatile(
      "{ .reg .pred p; setp.ne.s32 p, %9, 0;"
      " @p fma.rn.f32 %0, %4, %5, %0; @p fma.rn.f32 %1, %4, %6, %1;"
      " @p fma.rn.f32 %2, %4, %7, %2; @p fma.rn.f32 %3, %4, %8, %3; }"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "f"(value), "f"(b[0]), "f"(b[1]), "f"(b[2]), "f"(b[3]), "r"(wanted));
}

template <int kBytes>
__device__ __forceinline__ void copy_async(std::uint32_t to, const float* from) {
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from));
  }
}

/// The first of [low, high) whose column is not below `key`: the eight lanes of a row search nine-fold. The whole warp
/// calls.
__device__ __forceinline__ std::uint32_t search_columns(const std::uint32_t* columns, std::uint32_t low,
                                                        std::uint32_t high, std::uint32_t key, int lane) {
  while (__any_sync(kAllLanes, low < high)) {  // entries before `low` are below key, those from `high` on are not
    const std::uint32_t stride = (high - low + 7) / 8;
    const std::uint32_t probe = low + stride * (lane % 8 + 1) - 1;
    const bool below = probe < high && columns[probe] < key;
    const std::uint32_t count = __popc(__ballot_sync(kAllLanes, below) >> (lane & 24) & 0xffu);
    low += count * stride;
    high = min(high, low + stride - min(stride, 1u));
    low = min(low, high);
  }
  return low;
}

/// The entry of this lane in a chunk of eight.
struct Chunk {
  std::uint32_t column;
  float value;
};

__device__ __forceinline__ Chunk fetch_chunk(const std::uint32_t* columns, const float* values, std::uint32_t at,
                                             std::uint32_t end, bool wanted) {
  const bool some = wanted && at < end;
  return {some ? __ldg(columns + at) : kNoColumn, some ? __ldg(values + at) : 0.0f};
}

/// sums += the row's entries below column `limit` times B: `chunk`, which begins at `at`, and then every `stride` entries
/// a chunk of eight. `base` is this lane's shared address of B's row 0, had the panel that row. kTogether entries' reads
/// of B are in flight at a time. The whole warp calls; its four rows may differ in length.
template <int kVectors, int kTogether, int kRowBytes>
__device__ __forceinline__ void walk(float (&sums)[kVectors][4], const std::uint32_t* columns, const float* values,
                                     Chunk chunk, std::uint32_t at, std::uint32_t end, std::uint32_t stride,
                                     std::uint32_t limit, std::uint32_t base, int lane) {
  const int sub = lane % 8;
  while (true) {
    const unsigned valid = __ballot_sync(kAllLanes, chunk.column < limit);
    const int count = __popc(valid >> (lane & 24) & 0xffu);  // this row's: the first of its eight
    const int steps = __popc((valid | valid >> 8 | valid >> 16 | valid >> 24) & 0xffu);  // the longest's
    const Chunk next = fetch_chunk(columns, values, at + stride + sub, end, count == 8);
    at += count == 8 ? stride : count;
    const std::uint32_t offset = chunk.column * kRowBytes;
#pragma unroll
    for (int j = 0; j < 8; j += kTogether) {
      if (j >= steps) break;
      std::uint32_t from[kTogether];
      float value[kTogether];
      float row[kTogether][kVectors][4];
#pragma unroll
      for (int t = 0; t < kTogether; ++t) {
        from[t] = __shfl_sync(kAllLanes, offset, j + t, 8) + base;
        value[t] = __shfl_sync(kAllLanes, chunk.value, j + t, 8);
      }
#pragma unroll
      for (int t = 0; t < kTogether; ++t) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) load_where(row[t][v], from[t] + v * 128, j + t < count);
      }
#pragma unroll
      for (int t = 0; t < kTogether; ++t) {
#pragma unroll
        for (int v = 0; v < kVectors; ++v) add_where(sums[v], value[t], row[t][v], j + t < count);
      }
    }
    if (steps < 8) return;
    chunk = next;
  }
}

}  // namespace lacuna::kernels
