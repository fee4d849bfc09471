// What the SDDMM tile kernel is made of: work items, barriers, the copy engine, the ring of stages, splitting.
// Device code only.
#pragma once

#include <cuda.h>

#include <cstddef>

#include "kernels/common/wgmma.cuh"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

namespace {

constexpr int kRows = 128;        // of a tile: 64 for each of two warpgroups
constexpr int kPieceBytes = 128;  // of a row of A or B in a stage: the width of the swizzle
constexpr int kThreads = 384;     // warpgroup 0 loads (and splits), 1 and 2 multiply
constexpr int kConsumerWarps = 8;
constexpr int kLoadAhead = 2;  // split_tf32: pieces that loads run in front of the splitting
constexpr int kRowGroup = 8;   // tiles that follow one another go down this many rows first: they share B in L2
constexpr int kSampleRows = 16, kSampleBytes = kSampleRows * kCell * 4;  // a warp's shared memory for sampling

struct TileProblem {
  SddmmPlan plan;
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  SddmmFactors factors;       // half alone
  std::int64_t c_stride;      // elements between matrices of the batch
  std::int64_t split_stride;  // elements between parts of k (partial sums)
  int m, n, pieces;           // pieces of 128 bytes along k
  int row_tiles, col_tiles, splits;
  std::int64_t items;
  int a_batched, b_batched;  // 0: one matrix for the whole batch
  float scale;
};

struct WorkItem {
  int row, col;  // of the tile's first element
  int first_piece, num_pieces;
  int split, matrix;
  bool empty;  // no entries: nothing to do
};

template <int kCols>
__device__ __forceinline__ WorkItem work_item(const TileProblem& p, std::int64_t index) {
  const int tiles = p.row_tiles * p.col_tiles;
  const int tile = static_cast<int>(index % tiles);
  const int rest = static_cast<int>(index / tiles);
  WorkItem item;
  item.split = rest % p.splits;
  item.matrix = rest / p.splits;
  const int group = tile / (kRowGroup * p.col_tiles), in_group = tile % (kRowGroup * p.col_tiles);
  const int group_rows = min(kRowGroup, p.row_tiles - group * kRowGroup);
  item.row = (group * kRowGroup + in_group % group_rows) * kRows;
  item.col = in_group / group_rows * kCols;
  item.first_piece = static_cast<int>(std::int64_t{p.pieces} * item.split / p.splits);
  item.num_pieces = static_cast<int>(std::int64_t{p.pieces} * (item.split + 1) / p.splits) - item.first_piece;
  if (item.num_pieces == 0) item.first_piece = p.pieces, item.num_pieces = 1;  // past the end of k: zeros
  item.empty = true;
  for (int i = 0; i < kRows / kCell; ++i) {
    for (int j = 0; j < kCols / kCell; ++j) {
      const std::int64_t r = item.row / kCell + i, c = item.col / kCell + j;
      if (r < p.plan.cell_rows && c < p.plan.cell_cols && __ldg(p.plan.cells + r * p.plan.cell_cols + c))
        item.empty = false;
    }
  }
  return item;
}

// ---- barriers and copies ---------------------------------------------------------------------------------------------

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(std::uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_expect(std::uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

/// Waits for the phase of `parity` to end. A wait that outlasts any copy or product is a fault, not a hang.
__device__ __forceinline__ void barrier_wait(std::uint64_t* barrier, std::uint32_t parity) {
  for (unsigned tries = 0; tries < 1u << 24; ++tries) {
    std::uint32_t done;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    if (done) return;
  }
  __trap();
}

__device__ __forceinline__ void tma_load(void* to, const CUtensorMap* map, std::uint64_t* barrier, int k, int row,
                                         int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(k), "r"(row), "r"(matrix)
      : "memory");
}

template <int kRegisters>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// To the nearest tf32, ties away from zero.
__device__ __forceinline__ std::uint32_t round_tf32(std::uint32_t x) { return (x + 0x1000u) & 0xffffe000u; }

// ---- the ring --------------------------------------------------------------------------------------------------------

template <SddmmMath kMath, int kCols>
struct Layout {
  static constexpr bool kSplit = kMath == SddmmMath::split_tf32;
  static constexpr int kElements = kMath == SddmmMath::bf16 || kMath == SddmmMath::half ? 64 : 32;  // of a piece
  static constexpr int kABytes = kRows * kPieceBytes, kBBytes = kCols * kPieceBytes;
  static constexpr int kStageBytes = kABytes + kBBytes * (kSplit ? 2 : 1);
  static constexpr int kStages = kCols == 256 ? 4 : kSplit ? 4 : 6;
  static constexpr int kBytes = 1024 + kStages * kStageBytes + kConsumerWarps * kSampleBytes;
  static_assert(kBytes <= 232448 - 1024, "a block's shared memory");
};

/// A place in the ring, and the parity of its barriers' current phase.
template <int kStages>
struct RingPlace {
  int stage = 0;
  std::uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

struct Barriers {
  std::uint64_t full[8];   // TMA has written the stage
  std::uint64_t split[8];  // and warpgroup 0 has split it
  std::uint64_t empty[8];  // both consumers have read it
};

/// What the loading thread says of a stage, so that only it need look for the tiles that hold entries.
struct Note {
  int row, col, split, matrix;  // of the stage's work item
  bool last;                    // its last piece
  bool end;                     // no piece, and none will follow
};

/// Splits a stage's B: hi in place, lo behind it. Element by element, so that the swizzle needs no undoing.
template <int kBytes>
__device__ __forceinline__ void split_b(std::byte* b) {
  const int thread = threadIdx.x;
#pragma unroll
  for (int i = 0; i < kBytes / 16 / 128; ++i) {
    uint4* hi = reinterpret_cast<uint4*>(b) + i * 128 + thread;
    uint4* lo = reinterpret_cast<uint4*>(b + kBytes) + i * 128 + thread;
    const uint4 x = *hi;
    const uint4 h = {round_tf32(x.x), round_tf32(x.y), round_tf32(x.z), round_tf32(x.w)};
    const float4 l = {__uint_as_float(x.x) - __uint_as_float(h.x), __uint_as_float(x.y) - __uint_as_float(h.y),
                      __uint_as_float(x.z) - __uint_as_float(h.z), __uint_as_float(x.w) - __uint_as_float(h.w)};
    *hi = h;
    *reinterpret_cast<float4*>(lo) = l;
  }
}

}  // namespace

}  // namespace lacuna::kernels
