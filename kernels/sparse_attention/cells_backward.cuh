// Backward over cells (cells.cuh): the same sums and the same two roles as backward.cuh. The panels' kernel then adds the rest.
#pragma once

#include "kernels/sparse_attention/backward.cuh"
#include "kernels/sparse_attention/cells.cuh"

namespace lacuna::kernels::attention {

struct CellGradientLayout {
  static constexpr int kHeader = 1024;  // barriers
  static constexpr int kExtra = 1024;   // statistics or dropout words of 64 staged rows
  static constexpr int kStageBytes = 2 * kHalfBytes + kExtra;
  static constexpr int kStages = 4;
  static constexpr int kBytes = 1024 + kHeader + 2 * kResidentBytes + kStages * kStageBytes;
  static_assert(kBytes <= kMaxSharedBytes);
};

/// keeps: dS goes to memory too, for cell_query_kernel.
/// by_column: statistics belong to the staged rows, and P goes to out[1]; dS goes to out[0].
template <Shape shape, bool drops, bool by_column, bool keeps = false>
__global__ void __launch_bounds__(kCellThreads, 1) cell_gradient_kernel(const __grid_constant__ CellArgs args) {
  using L = CellGradientLayout;
  constexpr bool side = by_column;
  constexpr bool kTurns = side;   // the warpgroups take turns at the scores: 1 to 5 % faster, not so for dQ
  constexpr bool kDrains = side;  // no registers for packed operands beside the next scores
  extern __shared__ char raw[];
  const std::uint32_t header = (shared_address(raw) + 1023) / 1024 * 1024;
  const std::uint32_t full = header, empty = header + 64, loaded = header + 128;
  const std::uint32_t resident = header + L::kHeader, stages = resident + 2 * kResidentBytes;
  const CellWork work = CellWork::of<shape>(args);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < L::kStages; ++s) barrier_init(full + s * 8, 128), barrier_init(empty + s * 8, 8);
    barrier_init(loaded, 128);
    barrier_init_fence();
  }
  __syncthreads();
  let_next_kernel_start();
  if (warp >= 8) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    const int thread = threadIdx.x - 256;
    if (args.aligned && thread == 0) barrier_expect(loaded, 2 * kResidentBytes);
#pragma unroll 1
    for (int i = 0; i < 4; ++i)
      stage_rows(args, &args.resident_maps[i / 2], args.resident[i / 2], args.resident_place[i / 2],
                 work.block * kCell + i % 2 * kBoxRows, resident + i * kHalfBytes, kBoxBytes, loaded, thread);
    if (!args.aligned) stores_to_async();
    barrier_arrive(loaded);
    int stage = 0;
    std::uint32_t parity = 1;
#pragma unroll 1
    for (int i = 2 * work.begin; i < 2 * work.end; ++i) {
      const int row = work.window<shape>(i / 2) * kCell + i % 2 * kBoxRows;
      const std::uint32_t base = stages + stage * L::kStageBytes, extra = base + 2 * kHalfBytes;
      barrier_wait(empty + stage * 8, parity);
      if (args.aligned && thread == 0) barrier_expect(full + stage * 8, 2 * kHalfBytes);
#pragma unroll
      for (int operand = 0; operand < 2; ++operand)
        stage_rows(args, &args.staged_maps[operand], args.staged[operand], args.staged_place[operand], row,
                   base + operand * kHalfBytes, kBoxBytes, full + stage * 8, thread);
      if constexpr (by_column) {
        if (thread < kBoxRows)
          copy16(extra + thread * 16,
                 args.stats + static_cast<std::int64_t>(work.matrix) * args.t + min(row + thread, args.t - 1),
                 row + thread < args.t);
      } else if constexpr (drops) {
        if (thread < kBoxRows) store_shared4(extra + thread * 4, dropout_column_word(row + thread));
        __threadfence_block();
      }
      if (!args.aligned) stores_to_async();
      barrier_arrive_after_copies(full + stage * 8);
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = warp / 4, g = lane / 4, c = lane % 4;
    const int first_row = work.block * kCell + warp * kPanelRows;
    Statistics of_row[2];
    if constexpr (!by_column) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = min(first_row + g + 8 * h, args.t - 1);
        of_row[h] =
            unpack(reinterpret_cast<const uint4*>(args.stats)[static_cast<std::int64_t>(work.matrix) * args.t + row]);
      }
    }
    [[maybe_unused]] std::uint32_t own_word[2] = {};
    if constexpr (drops && by_column)
      own_word[0] = dropout_column_word(first_row + g), own_word[1] = dropout_column_word(first_row + g + 8);
    float out0[64] = {}, out1[64] = {};
    const std::uint64_t a0 = wgmma::descriptor(resident + group * kHalfBytes);
    const std::uint64_t a1 = wgmma::descriptor(resident + kResidentBytes + group * kHalfBytes);
    [[maybe_unused]] uint4* scores_to = nullptr;
    if constexpr (keeps) {
      const std::int64_t first = shape == Shape::plan ? work.begin : lower_place(args.blocks, work.block, work.block);
      scores_to = reinterpret_cast<uint4*>(scores_of<shape>(args, work.matrix, first)) + warp * 128 + lane;
    }
    uint2 bits, next = work.bits<shape>(args, work.begin);
    barrier_wait(loaded, 0);
    if (kTurns && group == 1) pair_signal(1);
    int stage = 0;
    std::uint32_t parity = 0;
#pragma unroll 1
    for (int i = 2 * work.begin; i < 2 * work.end; ++i) {
      const int last_stage = stage == 0 ? L::kStages - 1 : stage - 1;
      const std::uint32_t base = stages + stage * L::kStageBytes, extra = base + 2 * kHalfBytes;
      if (i % 2 == 0) bits = next, next = work.bits<shape>(args, i / 2 + 1);
      const std::uint32_t word = i % 2 == 0 ? bits.x : bits.y;
      barrier_wait(full + stage * 8, parity);
      if constexpr (kTurns) pair_wait(1 + group);
      float p[32], dp[32];
      const std::uint64_t b0 = wgmma::descriptor(base), b1 = wgmma::descriptor(base + kHalfBytes);
      wgmma::fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int step = k / 4 * (kBoxBytes >> 4) + k % 4 * 2;
        wgmma::bf16_n64(p, a0 + step, b0 + step, k > 0);
      }
      wgmma::commit();
#pragma unroll
      for (int k = 0; k < 8; ++k) {
        const int step = k / 4 * (kBoxBytes >> 4) + k % 4 * 2;
        wgmma::bf16_n64(dp, a1 + step, b1 + step, k > 0);
      }
      wgmma::commit();
      wgmma::wait<0>();
      if constexpr (kTurns) pair_signal(2 - group);
      wgmma::pin(p);
      wgmma::pin(dp);
      wgmma::pin(out0);
      if constexpr (side) wgmma::pin(out1);
      if (!kDrains && i > 2 * work.begin && lane == 0) barrier_arrive(empty + last_stage * 8);
      std::uint32_t ds_pack[4][4], p_pack[4][4];
#pragma unroll
      for (int j = 0; j < 8; ++j) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          Statistics of_column;
          [[maybe_unused]] std::uint32_t column_word = 0;
          if constexpr (by_column)
            of_column = unpack(load_shared16(extra + (8 * j + 2 * c + e) * 16));
          else if constexpr (drops)
            column_word = load_shared4(extra + (8 * j + 2 * c + e) * 4);
#pragma unroll
          for (int h = 0; h < 2; ++h) {
            const int at = 4 * j + 2 * h + e;
            const Statistics& of = by_column ? of_column : of_row[h];
            float x = exp2_fast(fmaf(p[at], args.scale, -of.lse));
            x = word >> at & 1 ? x : 0.0f;
            float kept = 1;
            if constexpr (drops)
              kept = is_dropped(of.row_key, by_column ? own_word[h] : column_word, args.drop_below) ? 0.0f
                                                                                                    : args.keep_scale;
            p[at] = x * kept;
            dp[at] = x * fmaf(dp[at], kept, -of.d);
          }
        }
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          ds_pack[j / 2][j % 2 * 2 + h] = pack_bf16(dp[4 * j + 2 * h], dp[4 * j + 2 * h + 1]);
          if constexpr (side) p_pack[j / 2][j % 2 * 2 + h] = pack_bf16(p[4 * j + 2 * h], p[4 * j + 2 * h + 1]);
        }
      }
      if constexpr (keeps) {  // before the products, which take the registers: after them, 20 % slower
#pragma unroll
        for (int k = 0; k < 4; ++k)
          scores_to[32 * k] = make_uint4(ds_pack[k][0], ds_pack[k][1], ds_pack[k][2], ds_pack[k][3]);
        scores_to += kScoreBytes / 16;
      }
      const std::uint64_t m0 = wgmma::descriptor_mn(base, kBoxBytes);
      const std::uint64_t m1 = wgmma::descriptor_mn(base + kHalfBytes, kBoxBytes);
      wgmma::fence();
      if constexpr (side) {
#pragma unroll
        for (int k = 0; k < 4; ++k) wgmma::bf16_n128<wgmma::Major::mn>(out1, p_pack[k], m1 + k * (2048 >> 4), 1);
      }
#pragma unroll
      for (int k = 0; k < 4; ++k) wgmma::bf16_n128<wgmma::Major::mn>(out0, ds_pack[k], m0 + k * (2048 >> 4), 1);
      wgmma::commit();
      if constexpr (kDrains) {
        wgmma::wait<0>();
        if (lane == 0) barrier_arrive(empty + stage * 8);
      }
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
    wgmma::wait<0>();
    wgmma::pin(out0);
    if constexpr (side) wgmma::pin(out1);
    if (kTurns && group == 0) pair_wait(1);  // the other's last signal
    wait_for_last_kernel();                  // nothing of it is read, but who waits for this one counts on both
    group_barrier(3 + group);                // all four warps have read their rows
    const std::uint32_t scratch = resident + warp * 4096;
    const float scale[2] = {args.out_scale, args.out_scale}, one[2] = {1, 1};
    const std::int64_t at = args.out_place.here();
    if (args.out[0])
      store_accumulators(out0, scale, static_cast<Bf16*>(args.out[0]) + at, args.out_place.row, args.t, first_row,
                         args.aligned, scratch);
    if (side && args.out[1])
      store_accumulators(out1, one, static_cast<Bf16*>(args.out[1]) + at, args.out_place.row, args.t, first_row,
                         args.aligned, scratch);
  }
}

}  // namespace lacuna::kernels::attention
