// SpMM on CUDA, the direct kernel: for few entries, where starting is what costs. B is read where it lies; shared memory
// holds the sums of a row that several warps share, and nothing else.
//
// A warp makes a tile of columns of one row, or of a part of a row's entries, and where there are rows enough of one row
// after another. Groups of kLanes lanes read the columns of an entry each, kUnroll entries a group in flight. What comes
// from the pattern alone, the order of rows, their bounds and the first columns, is read before the wait for the previous
// kernel (dependent_launch.cuh) where the pattern is known to be settled, and the blocks together ask B into L2: after
// the wait there is one read of B, on its way already, and the store.
//
// Blocks that share a tile of columns and come up together read the same rows of B, partly from L1.
//
// The order of a sum is fixed by the row's entries, the lanes and the parts alone: equal bits on every run.
#pragma once

#include <cstdint>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/spmm/spmm_operands.h"
#include "kernels/spmm/spmm_panel_parts.cuh"

namespace lacuna::kernels {

/// How a launch divides the work; spmm_plan.h makes it.
struct DirectLaunch {
  int parts;       // warps of a block that share a row's entries: 1, 2, 4 or 8
  int row_blocks;  // blocks that share the rows
  int rounds;      // rows that each warp takes, one after another; at most 32, and one where parts is above 1
};

template <int kVector_, int kLanes_, int kVectors_, int kUnroll_, int kWarps_>
struct DirectShape {
  static constexpr int kVector = kVector_;    // columns a lane reads at once: 4 where B and C allow it, else 1
  static constexpr int kLanes = kLanes_;      // that read an entry
  static constexpr int kVectors = kVectors_;  // reads a lane makes of an entry's row of B
  static constexpr int kUnroll = kUnroll_;    // entries of a group in flight
  static constexpr int kWarps = kWarps_;      // of a block
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kGroups = 32 / kLanes;  // that take entries in turn
  static constexpr int kSpan = kVector * kLanes;
  static constexpr int kTile = kSpan * kVectors;  // columns of C a block makes
};

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1024 / S::kThreads)
    spmm_direct_kernel(const SpmmOperands p, const DirectLaunch l) {
  constexpr int kSums = S::kVectors * S::kVector;
  __shared__ float partial[S::kWarps][kSums][S::kLanes];
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  if (!p.settled) cudaGridDependencySynchronize();
#endif
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int group = lane / S::kLanes;
  const int part = warp % l.parts;
  const int row_block = static_cast<int>(blockIdx.x) % l.row_blocks;
  const int column = static_cast<int>(blockIdx.x) / l.row_blocks * S::kTile + lane % S::kLanes * S::kVector;
  const float* values = p.values + blockIdx.z * p.values_stride;
  const float* b = p.b + blockIdx.z * p.b_stride;

  // Lane i knows the row of round i: rows are dealt out in the order of their lengths over the warps of all blocks.
  int my_row = -1, my_begin = 0, my_end = 0;
  const std::int64_t position =
      (std::int64_t{lane} * (S::kWarps / l.parts) + warp / l.parts) * l.row_blocks + row_block;
  if (lane < l.rounds && position < p.m) {
    my_row = p.row_order ? p.row_order[position] : static_cast<int>(position);
    my_begin = p.row_offsets[my_row];
    my_end = p.row_offsets[my_row + 1];
    if (l.parts > 1) {
      const int each = (my_end - my_begin + l.parts - 1) / l.parts;
      my_begin = min(my_begin + part * each, my_end);
      my_end = min(my_begin + each, my_end);
    }
  }
  int at = __shfl_sync(kAllLanes, my_begin, 0), end = __shfl_sync(kAllLanes, my_end, 0);
  int next_column = at + lane < end ? __ldg(p.col_indices + at + lane) : 0;
  if (at + lane < end) prefetch_l2(values + at + lane);
  const unsigned lines = (static_cast<unsigned>(p.n) + 31) / 32;  // of a row of B; can_run keeps all of this in 32 bits
  for (unsigned i = blockIdx.x * S::kThreads + threadIdx.x; i < lines * p.k; i += gridDim.x * S::kThreads)
    prefetch_l2(b + i / lines * p.b_ld + i % lines * 32);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
  const float my_bias = p.bias && my_row >= 0 ? __ldg(p.bias + my_row) : 0.0f;
  b += column;

  for (int turn = 0; turn < l.rounds; ++turn) {
    float sums[S::kVectors][S::kVector] = {};
    const int following = min(turn + 1, 31);
    const int next_at = __shfl_sync(kAllLanes, my_begin, following);
    const int next_end = turn < 31 ? __shfl_sync(kAllLanes, my_end, following) : next_at;
    if (at >= end && next_at + lane < next_end) next_column = __ldg(p.col_indices + next_at + lane);
    while (at < end) {  // the whole warp alike
      const int count = min(end - at, 32);
      const int my_column = next_column;
      const float my_value = lane < count ? __ldg(values + at + lane) : 0.0f;
      at += 32;
      const bool more = at < end;
      const int ahead = more ? at : next_at;
      if (ahead + lane < (more ? end : next_end)) next_column = __ldg(p.col_indices + ahead + lane);
#pragma unroll 1
      for (int i = 0; i < count; i += S::kGroups * S::kUnroll) {
        float x[S::kUnroll][S::kVectors][S::kVector], value[S::kUnroll];
#pragma unroll
        for (int u = 0; u < S::kUnroll; ++u) {
          const int e = i + u * S::kGroups + group;
          const float* from = b + __shfl_sync(kAllLanes, my_column, e % 32) * p.b_ld;
          value[u] = __shfl_sync(kAllLanes, my_value, e % 32);
#pragma unroll
          for (int v = 0; v < S::kVectors; ++v) {
            const bool in = e < count && column + v * S::kSpan < p.n;
            if constexpr (S::kVector == 4) {
              const float4 y = in ? __ldg(reinterpret_cast<const float4*>(from + v * S::kSpan)) : float4{0, 0, 0, 0};
              x[u][v][0] = y.x, x[u][v][1] = y.y, x[u][v][2] = y.z, x[u][v][3] = y.w;
            } else {
              x[u][v][0] = in ? __ldg(from + v * S::kSpan) : 0.0f;
            }
          }
          if (e >= count) value[u] = 0.0f;
        }
#pragma unroll
        for (int u = 0; u < S::kUnroll; ++u) {
#pragma unroll
          for (int v = 0; v < S::kVectors; ++v) {
#pragma unroll
            for (int j = 0; j < S::kVector; ++j) sums[v][j] = fmaf(value[u], x[u][v][j], sums[v][j]);
          }
        }
      }
    }
    const int row = __shfl_sync(kAllLanes, my_row, turn);
    const float bias = __shfl_sync(kAllLanes, my_bias, turn);
    at = next_at, end = next_end;
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) {
#pragma unroll
      for (int j = 0; j < S::kVector; ++j) {
#pragma unroll
        for (int other = S::kLanes; other < 32; other *= 2) sums[v][j] += __shfl_xor_sync(kAllLanes, sums[v][j], other);
      }
    }
    if (l.parts > 1) {
      if (part > 0 && group == 0) {
#pragma unroll
        for (int s = 0; s < kSums; ++s) partial[warp][s][lane] = sums[s / S::kVector][s % S::kVector];
      }
      __syncthreads();
      if (part > 0) return;  // there is one round alone
      for (int other = 1; other < l.parts; ++other) {
#pragma unroll
        for (int s = 0; s < kSums; ++s)
          sums[s / S::kVector][s % S::kVector] += partial[warp + other][s][lane % S::kLanes];
      }
    }
    if (row < 0 || group > 0) continue;
    float* c = p.c + blockIdx.z * p.c_stride + row * p.c_ld + column;
#pragma unroll
    for (int v = 0; v < S::kVectors; ++v) {
      if (column + v * S::kSpan >= p.n) continue;
        // Without a bias nothing is added: -0 stays -0.
#pragma unroll
      for (int j = 0; j < S::kVector; ++j) sums[v][j] = activate(p.activation, p.bias ? sums[v][j] + bias : sums[v][j]);
      if constexpr (S::kVector == 4) {
        *reinterpret_cast<float4*>(c + v * S::kSpan) = make_float4(sums[v][0], sums[v][1], sums[v][2], sums[v][3]);
      } else {
        c[v * S::kSpan] = sums[v][0];
      }
    }
  }
}

}  // namespace lacuna::kernels
