// SpMM on CUDA, the panel kernel: B and the entries read from shared memory, for products of one wave of work or a few.
//
// A block keeps a panel of B, its share of K by kTile columns, in shared memory for its whole life. A warp makes its
// columns of one row after another: it stages the row's entries, 64 at a time, in one of two buffers, and while it
// multiplies those the next ones are on their way. kLanes lanes read a row of B, 16 bytes a lane at a time: no bank
// conflict is possible whatever the columns. The warp's groups of kLanes take four entries in turn and add up by
// shuffles. A stage is filled up to a multiple of 32 with entries of value 0 that point at a row of zeros behind the
// panel: no lane needs a predicate, and B's NaN stays where it is.
//
// What comes from the pattern alone, the order of rows, their offsets and the first columns, is read before the wait for
// the previous kernel (dependent_launch.cuh) where the pattern is known to be settled; B and the values are only asked
// into L2 by then, where an earlier kernel's write still reaches them.
//
// Split along K: the blocks of a cluster keep the shares of one panel; their sums meet through distributed shared memory
// and are added in the order of the ranks. So the plan fixes the order of every sum: equal bits on every run.
//
// docs/kernels/spmm.md: what it reaches, what binds, what lost against it.
#pragma once

#include <cooperative_groups.h>

#include <cstdint>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/runtime/views.h"
#include "kernels/spmm/spmm_operands.h"
#include "kernels/spmm/spmm_panel_parts.cuh"
#include "kernels/spmm/spmm_plan.h"

namespace lacuna::kernels {

/// How a launch divides the work; spmm_plan.h makes it.
struct PanelLaunch {
  int split;       // blocks of a cluster, each with its share of K
  int share;       // rows of B in a block's panel
  int row_blocks;  // blocks (or clusters) that share the rows of A
  int rounds;      // rows that each warp takes, one after another; at most 32
};

template <int kTile_, int kWarps_, bool kVector_, bool kSplit_>
struct PanelShape {
  static constexpr int kTile = kTile_;       // columns of C a block makes: 32, 64 or 128
  static constexpr int kWarps = kWarps_;     // of a block: 8, 16 or 32
  static constexpr bool kVector = kVector_;  // B and C can be read and written 16 bytes at a time
  static constexpr bool kSplit = kSplit_;    // the block is one of a cluster that shares the tile's K
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kVectors = kTile == 32 ? 1 : 2;   // 16-byte reads of B a lane makes per entry
  static constexpr int kLanes = kTile / (4 * kVectors);  // that read an entry's row of B
  static constexpr int kGroups = 32 / kLanes;            // that take entries in turn
  static constexpr int kColumns = kTile / 32;            // columns of C a lane stores
  static constexpr std::uint32_t kRowBytes = kTile * 4;
  // A multiprocessor holds 1024 threads of 64 registers. Blocks of so many leave the kernels before and after them room
  // to be there at the same time, which a dependent launch needs.
  static constexpr int kRegisters = kTile == 32 && kWarps == 32 && !kSplit ? 40 : 64;
};

template <class S>
__global__ void __maxnreg__(S::kRegisters) spmm_panel_kernel(const SpmmOperands p, const PanelLaunch l) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  constexpr int kStage = kPanelStage;                // entries
  constexpr std::uint32_t kStageBytes = 8 * kStage;  // columns, then values
  extern __shared__ __align__(128) float panel[];
  cudaTriggerProgrammaticLaunchCompletion();
  if (!p.settled) cudaGridDependencySynchronize();
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int rank = S::kSplit ? static_cast<int>(cg::this_cluster().block_rank()) : 0;
  const int place = static_cast<int>(blockIdx.x) / l.split;
  const int row_block = place % l.row_blocks;
  // The last tile is moved left to end at the last column; what it shares with its neighbour both make, bit for bit.
  const int tile_column = min(place / l.row_blocks * S::kTile, max(p.n - S::kTile, 0));
  const int k_begin = min(rank * l.share, p.k), k_end = min(k_begin + l.share, p.k);
  const std::uint32_t zero_row = k_begin + l.share;
  const std::uint32_t shared_base = static_cast<std::uint32_t>(__cvta_generic_to_shared(panel));
  const std::uint32_t stages = shared_base + (l.share + 1) * S::kRowBytes + warp * 2 * kStageBytes;  // this warp's
  float* partial =
      panel + (l.share + 1) * S::kTile + S::kWarps * 4 * kStage;  // [rounds, kWarps, kTile], where K is split

  const auto* columns = reinterpret_cast<const std::uint32_t*>(p.col_indices);
  const float* values = p.values + blockIdx.z * p.values_stride;
  const float* b = p.b + blockIdx.z * p.b_stride + tile_column;

  // Lane i knows the row of round i: rows are dealt out in the order of their lengths over the warps of all blocks.
  int my_row = -1;
  std::uint32_t my_begin = 0, my_end = 0;
  const std::int64_t position = (std::int64_t{lane} * S::kWarps + warp) * l.row_blocks + row_block;
  if (lane < l.rounds && position < p.m) {
    my_row = p.row_order ? p.row_order[position] : static_cast<int>(position);
    const std::int32_t* range = p.row_offsets + my_row;
    int next = 1;
    if constexpr (S::kSplit) {
      next = kRowShares / l.split;
      range = p.row_shares + std::int64_t{my_row} * (kRowShares + 1) + rank * next;
    }
    my_begin = static_cast<std::uint32_t>(range[0]);
    my_end = static_cast<std::uint32_t>(range[next]);
  }

  struct Run {  // entries [at, end) are left of the row of turn `turn`
    int turn;
    std::uint32_t at, end;
  };
  const auto enter = [&](Run& x) {
    x.at = __shfl_sync(kAllLanes, my_begin, x.turn % 32);
    x.end = __shfl_sync(kAllLanes, my_end, x.turn % 32);
    if (x.turn >= l.rounds) x.end = x.at;
  };
  const auto advance = [&](Run& x) {
    x.at += kStage;
    if (x.at < x.end) return;
    ++x.turn;
    enter(x);
  };
  const auto fetch = [&](const Run& x, std::uint32_t to, const void* array, std::uint32_t filler) {
#pragma unroll
    for (int g = 0; g < kStage; g += 32) {
      if (x.at + g >= x.end) break;
      const std::uint32_t i = x.at + g + lane;
      if (i < x.end) {
        copy_async<4>(to + (g + lane) * 4, static_cast<const std::uint32_t*>(array) + i);
      } else {
        store_shared(to + (g + lane) * 4, filler);
      }
    }
  };
  const auto fetch_columns = [&](const Run& x, int slot) { fetch(x, stages + slot * kStageBytes, columns, zero_row); };
  const auto fetch_values = [&](const Run& x, int slot) {
    fetch(x, stages + slot * kStageBytes + 4 * kStage, values, 0);
  };

  Run here = {};
  enter(here);
  Run ahead = here;
#pragma unroll
  for (int slot = 0; slot < 2; ++slot) {
    fetch_columns(ahead, slot);
    if (lane * 32 < kStage && ahead.at + lane * 32 < ahead.end) prefetch_l2(values + ahead.at + lane * 32);
    advance(ahead);
  }
  for (int row = k_begin + row_block + static_cast<int>(threadIdx.x) * l.row_blocks; row < k_end;
       row += S::kThreads * l.row_blocks) {
#pragma unroll
    for (int j = 0; j < S::kTile; j += 32)
      if (tile_column + j < p.n) prefetch_l2(b + row * p.b_ld + j);
  }
  if (threadIdx.x < S::kTile) panel[l.share * S::kTile + threadIdx.x] = 0.0f;
  cudaGridDependencySynchronize();

  ahead = here;
#pragma unroll
  for (int slot = 0; slot < 2; ++slot) {
    fetch_values(ahead, slot);
    advance(ahead);
  }
  {  // the panel
    constexpr int kWidth = S::kVector ? 4 : 1;
    constexpr int kPerRow = S::kTile / kWidth;
    constexpr int kRowsAtOnce = S::kThreads / kPerRow;
    const int column = static_cast<int>(threadIdx.x % kPerRow) * kWidth;
    const int row = static_cast<int>(threadIdx.x / kPerRow);
    const float* from = b + (k_begin + row) * p.b_ld + column;
    std::uint32_t to = shared_base + (row * S::kTile + column) * 4;
    if (tile_column + column < p.n) {  // only where n < kTile: other columns hold garbage, which no store reaches
#pragma unroll 8
      for (int k = k_begin + row; k < k_end; k += kRowsAtOnce) {
        copy_async<4 * kWidth>(to, from);
        from += kRowsAtOnce * p.b_ld;
        to += kRowsAtOnce * S::kRowBytes;
      }
    }
    asm volatile("cp.async.commit_group;");
  }
  const float my_bias = p.bias && my_row >= 0 ? p.bias[my_row] : 0.0f;

  const int in_tile = first_column<S>(lane);
  const auto finish = [&](int turn, float(&out)[S::kColumns]) {  // the whole warp calls
    const int row = __shfl_sync(kAllLanes, my_row, turn);
    const float bias = __shfl_sync(kAllLanes, my_bias, turn);
    if (row < 0) return;
      // Without a bias nothing is added: -0 stays -0.
#pragma unroll
    for (int j = 0; j < S::kColumns; ++j) out[j] = activate(p.activation, p.bias ? out[j] + bias : out[j]);
    float* c = p.c + blockIdx.z * p.c_stride + row * p.c_ld + tile_column + in_tile;
    if constexpr (S::kVector && S::kColumns > 1) {
      if (tile_column + in_tile >= p.n) return;
      if constexpr (S::kColumns == 4) *reinterpret_cast<float4*>(c) = make_float4(out[0], out[1], out[2], out[3]);
      if constexpr (S::kColumns == 2) *reinterpret_cast<float2*>(c) = make_float2(out[0], out[1]);
    } else {
#pragma unroll
      for (int j = 0; j < S::kColumns; ++j)
        if (tile_column + in_tile + j < p.n) c[j] = out[j];
    }
  };

  const std::uint32_t entries = stages + lane / S::kLanes * 16;  // this lane's first four columns
  const std::uint32_t base = shared_base + lane % S::kLanes * 16 - k_begin * S::kRowBytes;
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  float sums[S::kVectors][4] = {};
  for (int slot = 0; here.turn < l.rounds; slot ^= 1) {
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncwarp();
    const int count = static_cast<int>(min(here.end - here.at, std::uint32_t{kStage}));
    const std::uint32_t from = entries + slot * kStageBytes;
#pragma unroll(S::kVectors == 1 ? 2 : 1)
    for (int i = 0; i < count; i += 4 * S::kGroups) {
      std::uint32_t column[4];
      float value[4];
      load_shared(column, from + i * 4);
      load_shared(value, from + (kStage + i) * 4);
      add_four<S>(sums, column, value, base);
    }
    __syncwarp();  // all have read the stage
    fetch_columns(ahead, slot);
    fetch_values(ahead, slot);
    asm volatile("cp.async.commit_group;");
    advance(ahead);
    const int turn = here.turn;
    advance(here);
    if (here.turn == turn) continue;  // the row goes on
    float out[S::kColumns];
    sum_groups<S>(out, sums, lane);
    if constexpr (S::kSplit) {
      float* to = partial + (turn * S::kWarps + warp) * S::kTile + in_tile;
#pragma unroll
      for (int j = 0; j < S::kColumns; ++j) to[j] = out[j];
    } else {
      finish(turn, out);
    }
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) sums[v][0] = sums[v][1] = sums[v][2] = sums[v][3] = 0.0f;
  }

  if constexpr (S::kSplit) {
    auto cluster = cg::this_cluster();
    cluster.sync();
    for (int turn = 0; turn < l.rounds; ++turn) {
      if ((turn + warp) % l.split != rank) continue;  // another block of the cluster finishes this row
      float* from = partial + (turn * S::kWarps + warp) * S::kTile + in_tile;
      float out[S::kColumns] = {};
#pragma unroll 4
      for (int r = 0; r < l.split; ++r) {
        const float* there = cluster.map_shared_rank(from, r);
#pragma unroll
        for (int j = 0; j < S::kColumns; ++j) out[j] += there[j];
      }
      finish(turn, out);
    }
    cluster.sync();  // nobody leaves while its sums are read
  }
#else
  __trap();  // clusters need compute capability 9.0
#endif
}

}  // namespace lacuna::kernels
