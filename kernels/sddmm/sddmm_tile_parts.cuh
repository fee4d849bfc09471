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
constexpr int kPackRow = 116;  // floats of a row in a warp's shared memory where masks sample: rows start 4 banks apart

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

/// One lane's arrival for its warp, without a branch: after one the compiler no longer sees that a warp goes through the
/// ring as one, and makes each product wait for its operands' descriptors (a fifth more time for tiles of 128 columns).
__device__ __forceinline__ void barrier_arrive_warp(std::uint64_t* barrier, bool arrive = true) {
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %1, 0; @p mbarrier.arrive.shared::cta.b64 _, [%0]; }" ::"r"(
                   shared_address(barrier)),
               "r"(static_cast<int>(arrive && threadIdx.x % 32 == 0))
               : "memory");
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

/// A stage's share of an operand, kCount rows from `row` on, 128 bytes along k. Rows of 128 bytes, swizzled: K-major one
/// for each of them; kTurned (stored by k) one for each of 64 k, 64 of the rows after one another.
template <bool kTurned, int kCount>
__device__ __forceinline__ void load_operand(std::byte* to, const CUtensorMap* map, std::uint64_t* barrier, int k,
                                             int row, int matrix) {
  if constexpr (kTurned) {
#pragma unroll
    for (int i = 0; i < kCount / 64; ++i) tma_load(to + i * 64 * kPieceBytes, map, barrier, row + i * 64, k, matrix);
  } else {
    tma_load(to, map, barrier, k, row, matrix);
  }
}

template <bool kTurned>
__device__ __forceinline__ std::uint64_t operand_descriptor(std::uint32_t stage) {
  return kTurned ? wgmma::turned_descriptor(stage) : wgmma::descriptor(stage);
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

/// What the pattern has of a tile.
template <int kCols>
struct TileMasks {
  std::uint32_t words[kCols / 128][kRows][4];  // a bit a place, 128 columns of all rows after one another
  std::int32_t starts[kRows];                  // the first of them in CSR
};

/// kMasked: sums are sampled by masks (sddmm_tile_masks.cuh).
template <SddmmMath kMath, int kCols, bool kMasked>
struct Layout {
  static constexpr bool kSplit = kMath == SddmmMath::split_tf32;
  static constexpr int kElements = kMath == SddmmMath::bf16 || kMath == SddmmMath::half ? 64 : 32;  // of a piece
  static constexpr int kABytes = kRows * kPieceBytes, kBBytes = kCols * kPieceBytes;
  static constexpr int kStageBytes = kABytes + kBBytes * (kSplit ? 2 : 1);
  static constexpr int kStages = kCols == 256 ? 4 : kSplit ? 4 : 6;
  static_assert(!kMasked || kMath == SddmmMath::bf16 || kMath == SddmmMath::tf32);  // split_tf32 has no idle warps
  // What the loading warpgroup keeps, making masks or not; the others have half each of what is left of 504.
  static constexpr int kLoadRegisters = kMasked ? 72 : 56;
  static constexpr int kWarpBytes = kMasked ? 8 * kPackRow * 4 : kSampleBytes;
  static constexpr int kBytes = 1024 + kStages * kStageBytes + kConsumerWarps * kWarpBytes +
                                (kMasked ? static_cast<int>(sizeof(TileMasks<kCols>)) : 0);
  static_assert(kBytes <= 232448 - 512, "a block's shared memory");
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
  std::uint64_t masks_full, masks_empty;
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
