// What the SDDMM tile kernel is made of: work items, barriers, the copy engine, the ring of stages, splitting, sampling.
// Device code only.
#pragma once

#include <cuda.h>

#include <cstddef>

#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/common/wgmma.cuh"

namespace lacuna::kernels {

namespace {

constexpr int kRows = 128;        // of a tile: 64 for each of two warpgroups
constexpr int kPieceBytes = 128;  // of a row of A or B in a stage: the width of the swizzle
constexpr int kThreads = 384;     // warpgroup 0 loads (and splits), 1 and 2 multiply
constexpr int kConsumerWarps = 8;
constexpr int kLoadAhead = 2;  // split_tf32: pieces that loads run in front of the splitting
constexpr int kRowGroup = 8;   // tiles that follow one another go down this many rows first: they share B in L2
constexpr int kSampleRows = 16, kSampleBytes = kSampleRows * kCell * 4;  // a warp's shared memory for sampling
constexpr int kListLimit = 96;  // entries in 16 x 64 up to which they are gone through one by one

struct TileProblem {
  SddmmPlan plan;
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
  static_assert(kBytes <= 232448 - 256, "a block's shared memory");
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

// ---- sampling --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(Bf16* to, float x) { *to = to_bf16(x); }

/// The entries of a row in 64 columns, as the plan has them.
struct Run {
  std::uint32_t low = 0, high = 0;  // mask
  int start = 0;
};

/// Row `row`, columns from 64 * cell_col on; nothing when `in` is false or the pattern ends before.
__device__ __forceinline__ Run load_run(const TileProblem& p, int row, std::int64_t cell_col, bool in) {
  Run run;
  if (in && row < p.m && cell_col < p.plan.cell_cols) {
    const std::uint64_t mask = __ldg(p.plan.masks + cell_col * p.m + row);
    run.low = static_cast<std::uint32_t>(mask);
    run.high = static_cast<std::uint32_t>(mask >> 32);
    run.start = __ldg(p.plan.starts + cell_col * p.m + row);
  }
  return run;
}

/// Where column `column` of row `row` lies in a warp's sums: turned by 8 (row % 4) columns, against bank conflicts.
__device__ __forceinline__ int sum_place(int row, int column) { return row * kCell + (column ^ ((row & 3) * 8)); }

/// The place of set bit number `k` (from 0) of a mask that has more than k.
__device__ __forceinline__ int nth_bit(std::uint32_t mask, int k) {
  int place = 0;
#pragma unroll
  for (int width = 16; width > 0; width /= 2) {
    const int count = __popc(mask & ((1u << width) - 1));
    if (k >= count) {
      k -= count;
      mask >>= width;
      place += width;
    }
  }
  return place;
}

/// Stores the entries of 16 rows x 64 columns whose sums are in place; no column index is read.
///   run      row r's in lane r < 16, empty in the others
///   factors  [columns] of the first column and `columns` that exist from there on, if kScaled
template <bool kScaled, class Out>
__device__ __forceinline__ void sample(const float* sums, const Run& run, Out* __restrict__ out, float scale,
                                       const float* __restrict__ factors, int columns) {
  constexpr unsigned kAll = 0xffffffffu;
  const int lane = threadIdx.x % 32;
  int before = __popc(run.low) + __popc(run.high);  // becomes the entries in the rows up to and with this lane's
#pragma unroll
  for (int offset = 1; offset < kSampleRows; offset *= 2) {
    const int other = __shfl_up_sync(kAll, before, offset, kSampleRows);
    if (lane % kSampleRows >= offset) before += other;
  }
  const int total = __shfl_sync(kAll, before, kSampleRows - 1);
  if (total <= kListLimit) {  // one entry a lane
#pragma unroll 1
    for (int first = 0; first < total; first += 32) {
      const int number = first + lane;
      int r = 0, skipped = 0;  // rows whose entries all come before, and how many these are
#pragma unroll
      for (int step = kSampleRows / 2; step > 0; step /= 2) {
        const int other = __shfl_sync(kAll, before, r + step - 1);
        if (other <= number) r += step, skipped = other;
      }
      const std::uint32_t low = __shfl_sync(kAll, run.low, r), high = __shfl_sync(kAll, run.high, r);
      const int start = __shfl_sync(kAll, run.start, r);
      if (number < total) {
        const int k = number - skipped, lows = __popc(low);
        const int column = k < lows ? nth_bit(low, k) : 32 + nth_bit(high, k - lows);
        const float factor = kScaled ? __ldg(factors + column) : 1.0f;
        store(out + start + k, scale * sums[sum_place(r, column)] * factor);
      }
    }
  } else {  // a row at a time, two columns a lane
    const int shift = lane % 16 * 2;
    const std::uint32_t below = (1u << shift) - 1;
    float factor[2] = {scale, scale};
    if constexpr (kScaled) {
#pragma unroll
      for (int i = 0; i < 2; ++i) factor[i] = lane * 2 + i < columns ? scale * __ldg(factors + lane * 2 + i) : 0.0f;
    }
#pragma unroll 4
    for (int r = 0; r < kSampleRows; ++r) {
      const std::uint32_t low = __shfl_sync(kAll, run.low, r), high = __shfl_sync(kAll, run.high, r);
      const int start = __shfl_sync(kAll, run.start, r);
      const float2 x = *reinterpret_cast<const float2*>(sums + sum_place(r, lane * 2));
      const std::uint32_t half = lane < 16 ? low : high, bits = half >> shift;
      const int first = start + (lane < 16 ? 0 : __popc(low)) + __popc(half & below);
      if (bits & 1) store(out + first, x.x * factor[0]);
      if (bits & 2) store(out + first + static_cast<int>(bits & 1), x.y * factor[1]);
    }
  }
}

}  // namespace

}  // namespace lacuna::kernels
