// SpMM on CUDA, the panel kernel: B read from shared memory, for products of one wave of work or a few.
//
// A block keeps a panel of B, its share of K by kTile columns, in shared memory for its whole life and takes rows of A
// one after another: one barrier in all, a row's entries in one run. Eight lanes make one row: a quarter of a warp
// reads 128 contiguous bytes a time, so no bank conflict is possible whatever the columns, and a quarter that has no
// entry left reads nothing. Where rows are few, `parts` = 2 or 4 of a warp's four subwarps share a row, chunk by chunk, and
// add up by shuffles. Split along K: the blocks of a cluster keep the shares of one panel; their sums meet through
// distributed shared memory and are added in the order of the ranks. Either way the order of every sum is fixed by the
// plan: the bits are the same on every run.
//
// docs/kernels/spmm.md: what it reaches, what binds, what lost against it.
#pragma once

#include <cooperative_groups.h>

#include <cstdint>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/spmm/spmm_walk.cuh"

namespace lacuna::kernels {

struct PanelProblem {
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  const float* values;
  const std::int32_t* row_order;
  const float* b;
  float* c;
  const float* bias;
  std::int64_t values_stride, b_stride, c_stride;  // elements between matrices of the batch
  std::int64_t b_ld, c_ld;
  std::int64_t m, batch;
  std::int64_t unused;  // like the next one, for the layout: without it ptxas 13.0 spills 28 bytes a thread, not 4
  int k, n;
  bool unused_too;
  Activation activation;
};

/// How a launch divides the work; spmm_plan.h makes it.
struct PanelLaunch {
  int split;       // blocks of a cluster, each with its share of K
  int share;       // rows of B in a block's panel
  int row_blocks;  // blocks (or clusters) that share the rows of A
  int parts;       // subwarps that share a row: 1, 2 or 4
  int rounds;      // rows that each subwarp (or `parts` of them) takes, one after another
};

template <int kTile_, int kWarps_, bool kVector_, bool kSplit_>
struct PanelShape {
  static constexpr int kTile = kTile_;       // columns of C a block makes
  static constexpr int kWarps = kWarps_;     // 16: two blocks of half the shared memory a multiprocessor; 32: one
  static constexpr bool kVector = kVector_;  // B and C can be read and written 16 bytes at a time
  static constexpr bool kSplit = kSplit_;    // the block is one of a cluster that shares the tile's K
  static constexpr int kBlocks = 32 / kWarps;
  static constexpr int kTogether = 4;  // entries whose reads of B are in flight: 64 registers a thread allow no more
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kVectors = kTile / 32;  // 16-byte reads of B a lane makes per entry
};

/// What is stored for a sum. Without a bias nothing is added: -0 stays -0.
__device__ __forceinline__ float panel_finish(const PanelProblem& p, float bias, float sum) {
  return activate(p.activation, p.bias ? sum + bias : sum);
}

/// Finishes and stores four neighbouring sums of a row, those whose column is below n. kVector: n and the row's address
/// allow 16 bytes at a time.
template <bool kVector>
__device__ __forceinline__ void panel_store(const PanelProblem& p, float* row_of_c, int column, float bias,
                                            float4 sum) {
  const float out[4] = {panel_finish(p, bias, sum.x), panel_finish(p, bias, sum.y), panel_finish(p, bias, sum.z),
                        panel_finish(p, bias, sum.w)};
  if constexpr (kVector) {
    if (column < p.n) *reinterpret_cast<float4*>(row_of_c + column) = make_float4(out[0], out[1], out[2], out[3]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (column + i < p.n) row_of_c[column + i] = out[i];
    }
  }
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, S::kBlocks)
    spmm_panel_kernel(const PanelProblem p, const PanelLaunch l) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  constexpr std::uint32_t kRowBytes = S::kTile * 4;
  extern __shared__ __align__(16) float panel[];
  wait_for_previous();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int sub = lane % 8, part = lane / 8 % l.parts, row_of_warp = lane / 8 / l.parts;
  const int rows_a_warp = 4 / l.parts;
  const int rank = S::kSplit ? static_cast<int>(cg::this_cluster().block_rank()) : 0;
  const int tile = static_cast<int>(blockIdx.x) / l.split;
  const int row_block = tile % l.row_blocks;
  // The last tile is moved left to end at the last column; what it shares with its neighbour both make, bit for bit.
  const int tile_column = min(tile / l.row_blocks * S::kTile, max(p.n - S::kTile, 0));
  const int k_begin = min(rank * l.share, p.k), k_end = min(k_begin + l.share, p.k);
  const std::uint32_t shared_base = static_cast<std::uint32_t>(__cvta_generic_to_shared(panel));

  {  // the panel
    constexpr int kWidth = S::kVector ? 4 : 1;
    constexpr int kPerRow = S::kTile / kWidth;
    constexpr int kRowsAtOnce = S::kThreads / kPerRow;
    const int column = static_cast<int>(threadIdx.x % kPerRow) * kWidth;
    const int row = static_cast<int>(threadIdx.x / kPerRow);
    const float* from = p.b + blockIdx.z * p.b_stride + (k_begin + row) * p.b_ld + tile_column + column;
    std::uint32_t to = shared_base + (row * S::kTile + column) * 4;
    if (tile_column + column < p.n) {  // only where n < kTile: other columns hold garbage, which no store reaches
#pragma unroll 4
      for (int k = k_begin + row; k < k_end; k += kRowsAtOnce) {
        copy_async<4 * kWidth>(to, from);
        from += kRowsAtOnce * p.b_ld;
        to += kRowsAtOnce * kRowBytes;
      }
    }
    asm volatile("cp.async.commit_group;");
  }

  // Rows are dealt out in the order of their lengths, over warps of all blocks: neighbours share a warp, and every
  // warp gets long ones and short ones.
  const auto position_of = [&](int round) {
    return ((std::int64_t{round} * S::kWarps + warp) * l.row_blocks + row_block) * rows_a_warp + row_of_warp;
  };
  const auto* columns = reinterpret_cast<const std::uint32_t*>(p.col_indices);
  const float* values = p.values + blockIdx.z * p.values_stride;
  const std::uint32_t base = shared_base + sub * 16 - static_cast<std::uint32_t>(k_begin) * kRowBytes;
  const std::uint32_t chunk_offset = 8 * part, stride = 8 * l.parts;
  float* partial = panel + l.share * S::kTile;  // [rounds * kWarps * rows_a_warp, kTile], only where K is split

  const auto range_of = [&](int round, std::uint32_t& begin, std::uint32_t& end) {
    const std::int64_t position = position_of(round);
    begin = end = 0;
    if (round < l.rounds && position < p.m) {
      const std::int64_t row = p.row_order ? p.row_order[position] : position;
      begin = static_cast<std::uint32_t>(p.row_offsets[row]);
      end = static_cast<std::uint32_t>(p.row_offsets[row + 1]);
    }
  };
  std::uint32_t begin, end;
  range_of(0, begin, end);
  for (int round = 0; round < l.rounds; ++round) {
    if (S::kSplit && rank > 0) begin = search_columns(columns, begin, end, k_begin, lane);
    const std::uint32_t at = begin + chunk_offset;
    const Chunk chunk = fetch_chunk(columns, values, at + sub, end, true);
    std::uint32_t next_begin, next_end;
    range_of(round + 1, next_begin, next_end);  // on its way while this row is multiplied
    float sums[S::kVectors][4] = {};
    if (round == 0) {
      asm volatile("cp.async.wait_group 0;" ::: "memory");
      __syncthreads();
    }
    walk<S::kVectors, S::kTogether, kRowBytes>(sums, columns, values, chunk, at, end, stride, k_end, base, lane);
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (l.parts >= 2) sums[v][i] += __shfl_xor_sync(kAllLanes, sums[v][i], 8);
        if (l.parts == 4) sums[v][i] += __shfl_xor_sync(kAllLanes, sums[v][i], 16);
      }
    }
    begin = next_begin;
    end = next_end;
    if (part != 0) continue;
    if constexpr (S::kSplit) {
      const int r = (round * S::kWarps + warp) * rows_a_warp + row_of_warp;
#pragma unroll
      for (int v = 0; v < S::kVectors; ++v) {
        *reinterpret_cast<float4*>(partial + r * S::kTile + v * 32 + sub * 4) =
            make_float4(sums[v][0], sums[v][1], sums[v][2], sums[v][3]);
      }
    } else {
      const std::int64_t position = position_of(round);
      if (position >= p.m) continue;
      const std::int64_t row = p.row_order ? p.row_order[position] : position;
      const float bias = p.bias ? p.bias[row] : 0.0f;
      float* c = p.c + blockIdx.z * p.c_stride + row * p.c_ld;
#pragma unroll
      for (int v = 0; v < S::kVectors; ++v) {
        const int at_column = tile_column + v * 32 + sub * 4;
        panel_store<S::kVector>(p, c, at_column, bias, make_float4(sums[v][0], sums[v][1], sums[v][2], sums[v][3]));
      }
    }
  }

  if constexpr (S::kSplit) {
    auto cluster = cg::this_cluster();
    cluster.sync();
    constexpr int kPerRow = S::kTile / 4;
    const int count = l.rounds * S::kWarps * rows_a_warp * kPerRow;
    for (int i = rank * S::kThreads + static_cast<int>(threadIdx.x); i < count; i += l.split * S::kThreads) {
      const int r = i / kPerRow;  // row r of this block is row `within` of warp `of_warps`
      const int within = r % rows_a_warp, of_warps = r / rows_a_warp;
      const std::int64_t position = (std::int64_t{of_warps} * l.row_blocks + row_block) * rows_a_warp + within;
      const int at_column = tile_column + i % kPerRow * 4;
      if (position >= p.m || at_column >= p.n) continue;
      const std::int64_t row = p.row_order ? p.row_order[position] : position;
      float4 sum = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
#pragma unroll 4
      for (int from = 0; from < l.split; ++from) {
        const float4 x = reinterpret_cast<const float4*>(cluster.map_shared_rank(partial, from))[i];
        sum.x += x.x, sum.y += x.y, sum.z += x.z, sum.w += x.w;
      }
      panel_store<S::kVector>(p, p.c + blockIdx.z * p.c_stride + row * p.c_ld, at_column, p.bias ? p.bias[row] : 0.0f,
                              sum);
    }
    cluster.sync();  // nobody leaves while its sums are read
  }
#else
  __trap();  // clusters need compute capability 9.0
#endif
}

}  // namespace lacuna::kernels
