// What the kernels of residual_norm by clusters share. A cluster of blocks takes a tile of kTokens adjacent columns, each
// block kBlockRows rows of it: rows are read by whole lines, and there are blocks enough for every multiprocessor. A
// thread copies its own packs of eight into shared memory, asynchronously, and is the only one to read them, so no
// barrier stands there and registers are left for arithmetic. What the blocks of a cluster tell one another goes through
// distributed shared memory. Device code, but for cluster_blocks.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/common/reduce.cuh"

namespace lacuna::kernels {

template <int kThreads_, int kTokens_, int kHeld_, int kBlocks_>
struct ColumnTile {
  static constexpr int kThreads = kThreads_;
  static constexpr int kTokens = kTokens_;
  static constexpr int kHeld = kHeld_;              // packs of a thread, of each array
  static constexpr int kBlocks = kBlocks_;          // of a multiprocessor
  static constexpr int kVector = 8;                 // numbers of a pack
  static constexpr int kLanes = kTokens / kVector;  // threads along a row
  static constexpr int kRows = kThreads / kLanes;   // rows at a time
  static constexpr int kBlockRows = kRows * kHeld;
  static constexpr int kWarps = kThreads / kWarp;
  static constexpr int kArrayPacks = kThreads * kHeld;  // of one array, in shared memory
  static_assert(kLanes >= 4 && kLanes <= kWarp && kWarp % kLanes == 0 && kThreads % kTokens == 0);
};

inline constexpr int kMostCluster = 8;  // blocks: what every device of compute capability 9.0 takes

/// Blocks of a cluster that hold `rows` rows, a power of two; 0 where kMostCluster do not.
template <class Tile>
int cluster_blocks(std::int64_t rows) {
  int blocks = 1;
  while (blocks <= kMostCluster && std::int64_t{blocks} * Tile::kBlockRows < rows) blocks *= 2;
  return blocks <= kMostCluster ? blocks : 0;
}

/// Rows of one block of a cluster: none, if those before it hold all.
template <class Tile>
__device__ __forceinline__ int rows_of_block(std::int64_t rows, int rank) {
  return static_cast<int>(min(max(rows - rank * Tile::kBlockRows, std::int64_t{0}), std::int64_t{Tile::kBlockRows}));
}

__device__ __forceinline__ void copy_pack_async(uint4* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(static_cast<unsigned>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
}

__device__ __forceinline__ void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most `pending` (or kMost) of this thread's groups of copies are under way. The instruction takes a
/// constant: `pending` is one once loops are unrolled.
template <int kMost>
__device__ __forceinline__ void wait_copies(int pending) {
  if constexpr (kMost > 0) {
    if (pending < kMost) return wait_copies<kMost - 1>(pending);
  }
  asm volatile("cp.async.wait_group %0;" ::"n"(kMost) : "memory");
}

/// Sums each column over a warp's rows into sums[warp][kTokens]. Each step halves the columns that a lane carries.
template <class Tile>
__device__ __forceinline__ void store_warp_sums(float (&values)[8], float* sums) {
  const int lane = threadIdx.x % kWarp;
  int first = lane % Tile::kLanes * Tile::kVector;
  int count = Tile::kVector;
#pragma unroll
  for (int offset = kWarp / 2; offset >= Tile::kLanes; offset /= 2) {
    count /= 2;
    const bool upper = lane & offset;
    first += upper ? count : 0;
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float keep = upper ? values[i + count] : values[i];
      const float give = upper ? values[i] : values[i + count];
      values[i] = keep + __shfl_xor_sync(0xffffffffu, give, offset);
    }
  }
#pragma unroll
  for (int i = 0; i < Tile::kLanes / 4; ++i) sums[threadIdx.x / kWarp * Tile::kTokens + first + i] = values[i];
}

/// One column's sum over the warps, in order.
template <class Tile>
__device__ __forceinline__ float sum_of_warps(const float* sums, int token) {
  float sum = 0;
#pragma unroll
  for (int w = 0; w < Tile::kWarps; ++w) sum += sums[w * Tile::kTokens + token];
  return sum;
}

/// Eight numbers from a 16-byte aligned place.
__device__ __forceinline__ void read_eight(const float* from, float (&out)[8]) {
  const float4 low = reinterpret_cast<const float4*>(from)[0], high = reinterpret_cast<const float4*>(from)[1];
  out[0] = low.x, out[1] = low.y, out[2] = low.z, out[3] = low.w;
  out[4] = high.x, out[5] = high.y, out[6] = high.z, out[7] = high.w;
}

/// Sums each of values[0..kCount), a power of two, over a row's kLanes lanes; lane j returns the sum of entry j % kCount.
template <int kLanes, int kCount>
__device__ __forceinline__ float sum_of_lanes(float (&values)[kCount]) {
  static_assert(kCount <= kLanes && (kCount & (kCount - 1)) == 0);
  const int lane = threadIdx.x % kLanes;
#pragma unroll
  for (int offset = kLanes / 2; offset >= kCount; offset /= 2) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] += __shfl_xor_sync(0xffffffffu, values[i], offset);
  }
#pragma unroll
  for (int offset = kCount / 2; offset > 0; offset /= 2) {
    const bool upper = lane & offset;
#pragma unroll
    for (int i = 0; i < offset; ++i) {
      const float keep = upper ? values[i + offset] : values[i], give = upper ? values[i] : values[i + offset];
      values[i] = keep + __shfl_xor_sync(0xffffffffu, give, offset);
    }
  }
  return values[0];
}

}  // namespace lacuna::kernels
