// Sampling of the SDDMM tiles by bit masks. While two warpgroups multiply, the loading warpgroup's idle warps bring a
// tile's masks to shared memory, one bit a place: from the plan where it has them, else made from CSR. The sums then go
// from registers to their ranks within the rows' runs, packed in shared memory, and from there to device memory side by
// side, so that nothing is read from device memory while the tensor cores wait.
// Device code only.
#pragma once

#include "kernels/sddmm/sddmm_tile_sample.cuh"

namespace lacuna::kernels {

namespace {

constexpr int kMaskWarps = 3;  // warps 1 to 3

/// One warp's rows of a tile's masks, every third: what CSR has of them, and where it begins there.
__device__ __forceinline__ void make_masks(const TileProblem& p, const WorkItem& item, TileMasks<kGroup>& masks) {
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kOwn = (kRows + kMaskWarps - 1) / kMaskWarps, kAtOnce = 8;  // rows
  static_assert(kOwn <= 64);
  const int warp = threadIdx.x / 32 - 1, lane = threadIdx.x % 32;
  Run runs[2];  // of rows number lane and lane + 32
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int r = (lane + i * 32) * kMaskWarps + warp;
    if (r >= kRows) continue;
    runs[i] = load_run(p, item.row + r, item.col / kGroup, true);
    masks.starts[r] = runs[i].begin;
    *reinterpret_cast<uint4*>(masks.words[0][r]) = {0, 0, 0, 0};
    *reinterpret_cast<uint4*>(masks.words[1][r]) = {0, 0, 0, 0};
  }
  __syncwarp();
#pragma unroll 1
  for (int first = 0; first < kOwn; first += kAtOnce) {
    unsigned begin[kAtOnce], end[kAtOnce];
    int most = 0;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      begin[i] = static_cast<unsigned>(__shfl_sync(kAll, first < 32 ? runs[0].begin : runs[1].begin, (first + i) % 32));
      end[i] = static_cast<unsigned>(__shfl_sync(kAll, first < 32 ? runs[0].end : runs[1].end, (first + i) % 32));
      most = max(most, static_cast<int>(end[i] - begin[i]));
    }
#pragma unroll 1
    for (int at = lane; at - lane < most; at += 32) {
      int columns[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        columns[i] = begin[i] + at < end[i] ? __ldg(p.col_indices + begin[i] + at) - item.col : kGroup;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int c = columns[i];
        if (c < kGroup) atomicOr(&masks.words[c / 128][(first + i) * kMaskWarps + warp][c % 128 / 32], 1u << (c % 32));
      }
    }
  }
}

/// The same where the plan has the masks: they come by the copy engine, which `full` is told of.
template <int kCols>
__device__ __forceinline__ void fetch_masks(const TileProblem& p, const WorkItem& item, TileMasks<kCols>& masks,
                                            std::uint64_t* full) {
  constexpr unsigned kBytes = sizeof(masks.words);
  const std::uint32_t* from =
      p.plan.masks + (std::int64_t{item.row / kRows} * p.plan.groups * 2 + item.col / 128) * (kRows * 4);
  if (threadIdx.x == 32) {
    asm volatile("mbarrier.expect_tx.shared::cta.b64 [%0], %1;" ::"r"(shared_address(full)), "r"(kBytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                     shared_address(masks.words)),
                 "l"(from), "r"(kBytes), "r"(shared_address(full))
                 : "memory");
  }
#pragma unroll 1
  for (int r = static_cast<int>(threadIdx.x) - 32; r < kRows; r += kMaskWarps * 32) {
    int start = load_run(p, item.row + r, item.col / kGroup, true).begin;
    if (item.col % kGroup != 0) {  // 128 columns into the run
      const uint4 x = __ldg(reinterpret_cast<const uint4*>(from - kRows * 4) + r);
      start += __popc(x.x) + __popc(x.y) + __popc(x.z) + __popc(x.w);
    }
    masks.starts[r] = start;
  }
}

/// Two sums side by side, to shared memory at `to` those whose bits of `mine` are set (bits 8 kByte and the next).
template <int kByte>
__device__ __forceinline__ void pack_two(std::uint32_t to, std::uint32_t mine, float x, float y) {
  asm volatile(
      "{ .reg .pred p, q; .reg .b32 b, a; and.b32 b, %1, %4; setp.ne.b32 p, b, 0; and.b32 b, %1, %5; setp.ne.b32 q, b, "
      "0; mov.b32 a, %0; @p st.shared.f32 [a], %2; @p add.u32 a, a, 4; @q st.shared.f32 [a], %3; }" ::"r"(to),
      "r"(mine), "f"(x), "f"(y), "n"(1u << (8 * kByte)), "n"(2u << (8 * kByte))
      : "memory");
}

/// Stores the entries of a warp's 16 x kCols sums: eight rows at a time, all their columns, a half or a quarter of them,
/// as many as fit a warp's shared memory.
///   total     the sums, in the order of kernels/common/wgmma.cuh
///   packed    [8, kPackRow] the warp's own
///   warp_row  the warp's first row, of the tile
template <int kCols, class Out>
__device__ __forceinline__ void sample_by_masks(const float (&total)[kCols / 2], float* packed,
                                                const TileMasks<kCols>& masks, const TileProblem& p, int warp_row,
                                                Out* __restrict__ out) {
  constexpr unsigned kAll = 0xffffffffu;
  constexpr int kWords = kCols / 32;
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const std::uint32_t own = shared_address(packed + g * kPackRow);
  std::uint32_t below[4];  // the bits before the lane's two of every eight
#pragma unroll
  for (int j = 0; j < 4; ++j) below[j] = (1u << (8 * j + 2 * t)) - 1;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int r = warp_row + half * 8 + g;
    std::uint32_t word[kWords];
    int count[kWords];
#pragma unroll
    for (int i = 0; i < kWords / 4; ++i) {
      const uint4 four = *reinterpret_cast<const uint4*>(masks.words[i][r]);
      word[i * 4] = four.x, word[i * 4 + 1] = four.y, word[i * 4 + 2] = four.z, word[i * 4 + 3] = four.w;
    }
#pragma unroll
    for (int w = 0; w < kWords; ++w) count[w] = __popc(word[w]);
    int start = masks.starts[r];
    int most = count[0] + count[1] + count[2] + count[3], all = most;
    if constexpr (kCols == 256) {
      const int second = count[4] + count[5] + count[6] + count[7];
      all += second;
      most = max(most, second);
    }
    const bool by_halves = __any_sync(kAll, all > kPackRow), by_quarters = __any_sync(kAll, most > kPackRow);
    int filled = 0;
    const auto flush = [&] {
      __syncwarp();
      const int longest = __reduce_max_sync(kAll, filled);
      int ends[8];
      unsigned begins[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        ends[i] = __shfl_sync(kAll, filled, i * 4);
        begins[i] = static_cast<unsigned>(__shfl_sync(kAll, start, i * 4)) + lane;
      }
#pragma unroll 1
      for (int at = 0; at < longest; at += 32) {
        const float* from = packed + min(at + lane, kPackRow - 1);  // past a row's end: not stored
        float x[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) x[i] = from[i * kPackRow];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          if (at + lane < ends[i]) store(out + (begins[i] + at), p.scale * x[i]);
        }
      }
      __syncwarp();
      start += filled;
      filled = 0;
    };
#pragma unroll
    for (int w = 0; w < kWords; ++w) {
      const std::uint32_t mine = word[w] >> (2 * t), to = own + filled * 4;
      const float* x = total + w * 16 + half * 2;
      pack_two<0>(to + 4 * __popc(word[w] & below[0]), mine, x[0], x[1]);
      pack_two<1>(to + 4 * __popc(word[w] & below[1]), mine, x[4], x[5]);
      pack_two<2>(to + 4 * __popc(word[w] & below[2]), mine, x[8], x[9]);
      pack_two<3>(to + 4 * __popc(word[w] & below[3]), mine, x[12], x[13]);
      filled += count[w];
      if (w + 1 == kWords || (w % 4 == 3 && by_halves) || (w % 4 == 1 && by_quarters)) flush();
    }
  }
}

}  // namespace

}  // namespace lacuna::kernels
