// Dense parts of a pattern: cells of 128 rows and 128 columns that Hopper's warpgroup products compute whole, entries chosen
// by a bit each. Where 16 rows use most columns, that beats picking columns for each panel.
//
// A block is 128 rows: two consuming warpgroups of 64, and one that stages the other operands' rows. Staged and resident
// rows alike are cut into lines of 128 bytes, swizzled by 128 bytes, 64 rows to a box of the copy engine.
#pragma once

#include "kernels/common/wgmma_bf16.cuh"
#include "kernels/sparse_attention/pipeline.cuh"

namespace lacuna::kernels::attention {

constexpr int kCell = 128;
constexpr int kCellThreads = 384;               // two consuming warpgroups, one producing
constexpr int kBoxRows = 64;                    // rows of one copy
constexpr int kBoxBytes = kBoxRows * 128;       // one line of them
constexpr int kHalfBytes = 2 * kBoxBytes;       // d = 128: two lines
constexpr int kResidentBytes = 2 * kHalfBytes;  // 128 rows; each warpgroup's 64 rows lie together

struct CellArgs {
  CUtensorMap resident_maps[2], staged_maps[2];  // where `aligned`
  const void* resident[2];                       // matrices [t, 128]
  const void* staged[2];
  void* out[2];
  Place resident_place[2], staged_place[2], out_place;
  float* lse;
  const float4* stats;
  int t;
  int blocks;  // of 128 rows
  int matrices_per_pattern;
  int first_matrix;
  float scale;      // scale * log2(e); forward: its absolute value, never 0
  float out_scale;  // of the gradients
  bool negate;      // forward: scale < 0
  bool aligned;
  std::uint32_t drop_below;
  float keep_scale;
  std::uint64_t seed;
  RandomSequence sequence;
  void* scores;                          // backward in one pass: dS, a cell after the other in the order of the columns
  std::int64_t first_scores[kMaxPlans];  // cells of the patterns before, of all their matrices
  PanelPlan plans[kMaxPlans];
};

/// What a block works on: cells `begin` to `end`, of the plan or (implicit shapes) windows.
struct CellWork {
  int matrix, block, begin, end;
  const PanelPlan* plan;
  int head;

  /// apart: one head after the other.
  template <Shape shape, bool apart = false>
  static __device__ CellWork of(const CellArgs& args) {
    int head = blockIdx.x, rank = blockIdx.y;
    if constexpr (apart) {
      const int at = rank * static_cast<int>(gridDim.x) + head;
      head = at / args.blocks, rank = at % args.blocks;
    }
    const int matrix = matrix_here(head);
    if constexpr (shape == Shape::plan) {
      const PanelPlan* plan = &args.plans[matrix / args.matrices_per_pattern];
      const int block = plan->cell_order[rank];
      return {matrix, block, plan->cell_offsets[block], plan->cell_offsets[block + 1], plan, head};
    } else if constexpr (shape == Shape::lower) {
      const int block = args.blocks - 1 - rank;
      return {matrix, block, 0, block + 1, nullptr, head};
    } else {
      return {matrix, rank, rank, args.blocks, nullptr, head};
    }
  }
  template <Shape shape>
  __device__ int window(int cell) const {
    return shape == Shape::plan ? plan->cell_windows[cell] : cell;
  }
  /// This consumer's 64 entries of a cell: bit 4 j + 2 h + i of word w is row g + 8 h of its warp's 16, column
  /// 64 w + 8 j + 2 c + i.
  template <Shape shape>
  __device__ uint2 bits(const CellArgs& args, int cell) const {
    if (cell >= end) return {0, 0};
    if constexpr (shape == Shape::plan) {
      return reinterpret_cast<const uint2*>(plan->cell_bits)[static_cast<std::int64_t>(cell) * 256 + threadIdx.x];
    } else {
      const int first_row = block * kCell + static_cast<int>(threadIdx.x) / 32 * 16, first_column = cell * kCell;
      if (shape == Shape::lower ? first_column + kCell - 1 <= first_row
                                : first_column >= first_row + 15 && first_column + kCell <= args.t)
        return {~0u, ~0u};
      std::uint32_t words[2] = {0, 0};
      const int row = first_row + threadIdx.x % 32 / 4, column = first_column + 2 * (threadIdx.x % 4);
#pragma unroll 1
      for (int e = 0; e < 64; ++e) {
        const int r = row + 8 * (e / 2 % 2), at = column + e / 4 * 8 + e % 2;
        const bool has = shape == Shape::lower ? at <= r : at >= r && at < args.t;
        words[e / 32] |= static_cast<std::uint32_t>(has) << (e % 32);
      }
      return {words[0], words[1]};
    }
  }
};

/// A cell of dS in CellArgs::scores: two halves of 64 rows, each in the order of the registers that held it.
constexpr int kScoreBytes = kCell * kBoxRows * 2;

/// Where cell `cell` of the columns' order is.
template <Shape shape>
__device__ inline char* scores_of(const CellArgs& args, int matrix, std::int64_t cell) {
  std::int64_t at = static_cast<std::int64_t>(matrix) * args.blocks * (args.blocks + 1) / 2;
  if constexpr (shape == Shape::plan) {
    const int pattern = matrix / args.matrices_per_pattern;
    at = args.first_scores[pattern] + matrix % args.matrices_per_pattern * args.plans[pattern].cells;
  }
  return static_cast<char*>(args.scores) + (at + cell) * (2 * kScoreBytes);
}
/// The place in the columns' order of a cell of the lower triangle.
__device__ inline std::int64_t lower_place(int blocks, int row, int column) {
  return static_cast<std::int64_t>(column) * blocks - static_cast<std::int64_t>(column) * (column - 1) / 2 + row -
         column;
}

/// Stages 64 rows of two lines of a head's matrix. Thread `thread` of the 128 that produce; the caller announces the bytes.
__device__ inline void stage_rows(const CellArgs& args, const CUtensorMap* map, const void* rows, const Place& place,
                                  int row, std::uint32_t to, int line_bytes, std::uint32_t barrier, int thread,
                                  int head = blockIdx.x) {
  if (args.aligned) {
    if (thread == 0) {
      copy_lines(to, map, 0, row, barrier, head);
      copy_lines(to + line_bytes, map, 64, row, barrier, head);
    }
    return;
  }
  const auto* from = static_cast<const Bf16*>(rows) + place.of(head);
  for (int i = thread; i < kBoxRows * 16; i += 128) {
    const int chunk = i % 16, r = i / 16;
    uint4 v{0, 0, 0, 0};
    if (row + r < args.t) v = load_global16(from + static_cast<std::int64_t>(row + r) * place.row + chunk * 8, false);
    store_shared16(row_chunk(to + chunk / 8 * line_bytes, r, chunk % 8), v);
  }
}
/// Makes this thread's stores to shared memory visible to warpgroup products.
__device__ inline void stores_to_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ inline void group_barrier(int id) { asm volatile("bar.sync %0, 128;" ::"r"(id) : "memory"); }
__device__ inline void pair_wait(int id) { asm volatile("bar.sync %0, 256;" ::"r"(id) : "memory"); }
__device__ inline void pair_signal(int id) { asm volatile("bar.arrive %0, 256;" ::"r"(id) : "memory"); }

/// Stores factor[h] * out (accumulators of a warpgroup product) to the warp's 16 rows, `stride` apart; `scratch`: 4 KiB of
/// shared memory.
__device__ inline void store_accumulators(const float (&out)[64], const float (&factor)[2], Bf16* matrix, int stride,
                                          int t, int first_row, bool aligned, std::uint32_t scratch) {
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  __syncwarp();
#pragma unroll
  for (int j = 0; j < 16; ++j) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
      store_shared4(scratch + (g + 8 * h) * 256 + ((j ^ g) * 16) + c * 4,
                    pack_bf16(out[4 * j + 2 * h] * factor[h], out[4 * j + 2 * h + 1] * factor[h]));
  }
  __syncwarp();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int r = 2 * i + lane / 16, chunk = lane % 16, row = first_row + r;
    if (row >= t) continue;
    const uint4 v = load_shared16(scratch + r * 256 + ((chunk ^ (r & 7)) * 16));
    Bf16* to = matrix + static_cast<std::int64_t>(row) * stride + chunk * 8;
    if (aligned) {
      *reinterpret_cast<uint4*>(to) = v;
    } else {
      const Bf16* parts = reinterpret_cast<const Bf16*>(&v);
#pragma unroll
      for (int e = 0; e < 8; ++e) to[e] = parts[e];
    }
  }
  __syncwarp();
}

}  // namespace lacuna::kernels::attention
