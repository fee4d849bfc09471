// Sampling of the SDDMM tiles: what the pattern has of a warp's 16 rows of sums. Columns ascend within a row of CSR, so
// that a row's entries in a tile are a run; a lane takes one of them, and a row's values are stored side by side.
// Device code only.
#pragma once

#include "kernels/sddmm/sddmm_tile_parts.cuh"

namespace lacuna::kernels {

namespace {

__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(Bf16* to, float x) { *to = to_bf16(x); }

/// A row's entries [begin, end) in the 256 columns around a tile; nothing where `in` is false or the row is none.
struct Run {
  int begin = 0, end = 0;
};

__device__ __forceinline__ Run load_run(const TileProblem& p, int row, int group, bool in) {
  Run run;
  if (in && row < p.m) {
    const std::int32_t* starts = p.plan.starts + std::int64_t{group} * p.m + row;
    run.begin = __ldg(starts);
    run.end = group + 1 < p.plan.groups ? __ldg(starts + p.m) : __ldg(p.row_offsets + row + 1);
  }
  return run;
}

/// Brings a run's columns to L2: they are read once, by this warp, when nothing else is left to wait for.
__device__ __forceinline__ void prefetch_columns(const TileProblem& p, const Run& run) {
  const auto end = static_cast<unsigned>(run.end);
  for (auto e = static_cast<unsigned>(run.begin); e < end; e += 32)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p.col_indices + e));
  __syncwarp();
}

/// Rows whose kCols sums a warp's shared memory holds at once: 4 or 8.
template <int kCols>
constexpr int kTurnRows = kSampleBytes / 4 / kCols;

/// Columns within the tile, or less than 0 or from kCols on where there are none, of the entries number `at` + lane of the
/// rows from `first_row` on.
template <int kCols>
__device__ __forceinline__ void load_columns(const TileProblem& p, int col, const Run& run, int first_row, int at,
                                             int (&columns)[kTurnRows<kCols>]) {
  constexpr unsigned kAll = 0xffffffffu;
#pragma unroll
  for (int i = 0; i < kTurnRows<kCols>; ++i) {
    const unsigned e = static_cast<unsigned>(__shfl_sync(kAll, run.begin, first_row + i)) + at + threadIdx.x % 32;
    columns[i] =
        e < static_cast<unsigned>(__shfl_sync(kAll, run.end, first_row + i)) ? __ldg(p.col_indices + e) - col : -1;
  }
}

/// Stores the entries of a warp's 16 x kCols sums, which go through its shared memory a few rows at a time.
///   total       the sums, in the order of kernels/common/wgmma.cuh
///   col         the tile's first column
///   run         row r's in lane r < 16
///   row_factor  the same, if kScaled, where p.factors.b has the columns'
///   columns     of the first rows' first entries
template <bool kScaled, int kCols, class Out>
__device__ __forceinline__ void sample(const float (&total)[kCols / 2], float* sums, const TileProblem& p, int col,
                                       const Run& run, float row_factor, int (&columns)[kTurnRows<kCols>],
                                       Out* __restrict__ out) {
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kTurn = kTurnRows<kCols>, kParts = 8 / kTurn;  // half of `total` belongs to eight rows
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  // Turned by 8 (row % 4) columns, against bank conflicts.
  const auto place = [](int row, int column) { return row * kCols + (column ^ ((row & 3) * 8)); };
#pragma unroll
  for (int half = 0; half < 2; ++half) {
#pragma unroll 1
    for (int part = 0; part < kParts; ++part) {
      const int first_row = half * 8 + part * kTurn, next_row = first_row + kTurn;
      if (g / kTurn == part) {
#pragma unroll
        for (int j = 0; j < kCols / 8; ++j) {
          *reinterpret_cast<float2*>(sums + place(g % kTurn, j * 8 + t * 2)) = {total[j * 4 + half * 2],
                                                                                total[j * 4 + half * 2 + 1]};
        }
      }
      __syncwarp();
      int most = lane >= first_row && lane < next_row ? run.end - run.begin : 0;
      most = __reduce_max_sync(kAll, most);
#pragma unroll 1
      for (int at = 0;; at += 32) {
        const bool more = at + 32 < most;
        int next[kTurn];  // on their way while these are stored
        if (more || next_row < kSampleRows)
          load_columns<kCols>(p, col, run, more ? first_row : next_row, more ? at + 32 : 0, next);
        float x[kTurn];
#pragma unroll
        for (int i = 0; i < kTurn; ++i) {
          x[i] = 0.0f;
          const float factor = kScaled ? __shfl_sync(kAll, row_factor, first_row + i) : 1.0f;
          if (static_cast<unsigned>(columns[i]) < static_cast<unsigned>(kCols)) {
            x[i] = p.scale * (sums[place(i, columns[i])] * factor);
            if constexpr (kScaled) x[i] *= __ldg(p.factors.b + col + columns[i]);
          }
        }
#pragma unroll
        for (int i = 0; i < kTurn; ++i) {
          const unsigned e = static_cast<unsigned>(__shfl_sync(kAll, run.begin, first_row + i)) + at + lane;
          if (static_cast<unsigned>(columns[i]) < static_cast<unsigned>(kCols)) store(out + e, x[i]);
          columns[i] = next[i];
        }
        if (!more) break;
      }
      __syncwarp();
    }
  }
}

}  // namespace

}  // namespace lacuna::kernels
