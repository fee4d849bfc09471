// Forward over cells (cells.cuh). The scores of a cell run on the tensor cores while the one before it is weighed.
#pragma once

#include "kernels/sparse_attention/cells.cuh"
#include "kernels/sparse_attention/forward.cuh"

namespace lacuna::kernels::attention {

struct CellForwardLayout {
  static constexpr int kHeader = 1024;                  // barriers
  static constexpr int kOperandBytes = 2 * kHalfBytes;  // 128 rows of K or V: line by line
  static constexpr int kLineBytes = 2 * kBoxBytes;
  static constexpr int kExtra = 1024;  // the columns' dropout words
  static constexpr int kStageBytes = 2 * kOperandBytes + kExtra;
  static constexpr int kStages = 2;
  static constexpr int kBytes = 1024 + kHeader + kResidentBytes + kStages * kStageBytes;
  static_assert(kBytes <= kMaxSharedBytes);
};

/// The running softmax of rows g and g + 8.
struct CellSoftmax {
  float maximum[2] = {-INFINITY, -INFINITY}, limit[2] = {-INFINITY, -INFINITY}, shift[2] = {0, 0}, sum[2] = {0, 0};
  float factor[2] = {1, 1};  // by which earlier sums must be scaled, where `moved`
  bool moved = false;

  /// Masks raw scores of a cell and turns them into probabilities, in place.
  template <bool drops>
  __device__ __forceinline__ void weigh(float (&s)[64], uint2 bits, const CellArgs& args, const RowKey (&row_key)[2],
                                        std::uint32_t words) {
    if (!__all_sync(kFullWarp, (bits.x & bits.y) == ~0u)) {
#pragma unroll
      for (int e = 0; e < 64; ++e) s[e] = ((e < 32 ? bits.x : bits.y) >> e % 32 & 1) ? s[e] : -INFINITY;
    }
    float seen[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int e = 0; e < 64; ++e) seen[e / 2 % 2] = fmaxf(seen[e / 2 % 2], s[e]);
    moved = __any_sync(kFullWarp, seen[0] > limit[0] || seen[1] > limit[1]);
    if (moved) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float m = fmaxf(seen[h], __shfl_xor_sync(kFullWarp, seen[h], 1));
        m = fmaxf(maximum[h], fmaxf(m, __shfl_xor_sync(kFullWarp, m, 2)));
        const float used = m == -INFINITY ? 0.0f : m;
        factor[h] = exp2_fast((maximum[h] - used) * args.scale);
        maximum[h] = m;
        limit[h] = m + kSlack / args.scale;
        shift[h] = used * args.scale;
        sum[h] *= factor[h];
      }
    }
#pragma unroll
    for (int j = 0; j < 16; ++j) {
      [[maybe_unused]] uint2 word{0, 0};
      if constexpr (drops) word = load_shared8(words + j * 32);
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        float& x = s[4 * j + e];
        x = exp2_fast(fmaf(x, args.scale, -shift[e / 2]));
        sum[e / 2] += x;
        if constexpr (drops) x = is_dropped(row_key[e / 2], e % 2 ? word.y : word.x, args.drop_below) ? 0.0f : x;
      }
    }
  }
};

template <Shape shape, bool drops>
__global__ void __launch_bounds__(kCellThreads, 1) cell_forward_kernel(const __grid_constant__ CellArgs args) {
  using L = CellForwardLayout;
  extern __shared__ char raw[];
  const std::uint32_t header = (shared_address(raw) + 1023) / 1024 * 1024;
  const std::uint32_t full_k = header, full_v = header + 32, empty_k = header + 64, empty_v = header + 96,
                      loaded = header + 128;
  const std::uint32_t resident = header + L::kHeader, stages = resident + kResidentBytes;
  const CellWork work = CellWork::of<shape>(args);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < L::kStages; ++s) {
      barrier_init(full_k + s * 8, 128), barrier_init(full_v + s * 8, 128);
      barrier_init(empty_k + s * 8, 8), barrier_init(empty_v + s * 8, 8);
    }
    barrier_init(loaded, 128);
    barrier_init_fence();
  }
  __syncthreads();
  let_next_kernel_start();
  if (warp >= 8) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    const int thread = threadIdx.x - 256;
    if (args.aligned && thread == 0) barrier_expect(loaded, kResidentBytes);
#pragma unroll 1
    for (int i = 0; i < 2; ++i)
      stage_rows(args, &args.resident_maps[0], args.resident[0], args.resident_place[0],
                 work.block * kCell + i * kBoxRows, resident + i * kHalfBytes, kBoxBytes, loaded, thread);
    if (!args.aligned) stores_to_async();
    barrier_arrive(loaded);
    int stage = 0;
    std::uint32_t parity = 1;
#pragma unroll 1
    for (int i = work.begin; i < work.end; ++i) {
      const int row = work.window<shape>(i) * kCell;
      const std::uint32_t base = stages + stage * L::kStageBytes;
#pragma unroll 1
      for (int operand = 0; operand < 2; ++operand) {
        const std::uint32_t full = (operand ? full_v : full_k) + stage * 8;
        barrier_wait((operand ? empty_v : empty_k) + stage * 8, parity);
        if (args.aligned && thread == 0) barrier_expect(full, L::kOperandBytes);
#pragma unroll
        for (int half = 0; half < 2; ++half)
          stage_rows(args, &args.staged_maps[operand], args.staged[operand], args.staged_place[operand],
                     row + half * kBoxRows, base + operand * L::kOperandBytes + half * kBoxBytes, L::kLineBytes, full,
                     thread);
        if (drops && operand == 0)
          store_shared4(base + 2 * L::kOperandBytes + thread * 4, dropout_column_word(row + thread));
        if (!args.aligned) stores_to_async();
        barrier_arrive(full);
      }
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = warp / 4, g = lane / 4, c = lane % 4;
    const int first_row = work.block * kCell + warp * kPanelRows;
    RowKey row_key[2];
    if constexpr (drops) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        row_key[h] =
            dropout_row_key(args.seed, args.sequence, args.first_matrix + work.matrix, args.t, first_row + g + 8 * h);
    }
    uint2 bits = work.bits<shape>(args, work.begin);
    barrier_wait(loaded, 0);
    std::uint32_t q[8][4];
    const std::uint32_t sign = args.negate ? 0x80008000u : 0;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int row = warp % 4 * kPanelRows + g + e % 2 * 8, chunk = k % 4 * 2 + e / 2;
        q[k][e] = load_shared4(row_chunk(resident + group * kHalfBytes + k / 4 * kBoxBytes, row, chunk) + c * 4) ^ sign;
      }
    }
    CellSoftmax softmax;
    float out[64] = {}, s[64];
    std::uint32_t p[8][4];
    const auto score = [&](std::uint32_t base) {
      const std::uint64_t b = wgmma::descriptor(base);
      wgmma::fence();
#pragma unroll
      for (int k = 0; k < 8; ++k)
        wgmma::bf16_n128<wgmma::Major::k>(s, q[k], b + k / 4 * (L::kLineBytes >> 4) + k % 4 * 2, k > 0);
      wgmma::commit();
    };
    const auto accumulate = [&](std::uint32_t base) {
      const std::uint64_t b = wgmma::descriptor_mn(base + L::kOperandBytes, L::kLineBytes);
      wgmma::fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) wgmma::bf16_n128<wgmma::Major::mn>(out, p[k], b + k * (2048 >> 4), 1);
      wgmma::commit();
    };
    const auto pack = [&] {
#pragma unroll
      for (int j = 0; j < 16; ++j)
#pragma unroll
        for (int h = 0; h < 2; ++h) p[j / 2][j % 2 * 2 + h] = pack_bf16(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]);
    };
    const auto release = [&](std::uint32_t empty) {
      if (lane == 0) barrier_arrive(empty);
    };
    int stage = 0, before = 0;
    std::uint32_t parity = 0, before_parity = 0;
    if (work.begin < work.end) {
      barrier_wait(full_k, 0);
      score(stages);
      wgmma::wait<0>();
      wgmma::pin(s);
      uint2 next = work.bits<shape>(args, work.begin + 1);
      softmax.weigh<drops>(s, bits, args, row_key, stages + 2 * L::kOperandBytes + c * 8);
      release(empty_k);  // its dropout words have been read too
      pack();
#pragma unroll 1
      for (int i = work.begin + 1; i < work.end; ++i) {
        before = stage, before_parity = parity;
        if (++stage == L::kStages) stage = 0, parity ^= 1;
        const std::uint32_t base = stages + stage * L::kStageBytes, base_before = stages + before * L::kStageBytes;
        bits = next, next = work.bits<shape>(args, i + 1);
        barrier_wait(full_k + stage * 8, parity);
        score(base);
        barrier_wait(full_v + before * 8, before_parity);
        accumulate(base_before);
        wgmma::wait<1>();
        wgmma::pin(s);
        softmax.weigh<drops>(s, bits, args, row_key, base + 2 * L::kOperandBytes + c * 8);
        release(empty_k + stage * 8);
        wgmma::wait<0>();
        wgmma::pin(out);
        release(empty_v + before * 8);
        if (softmax.moved) {
#pragma unroll
          for (int e = 0; e < 64; ++e) out[e] *= softmax.factor[e / 2 % 2];
        }
        pack();
      }
      barrier_wait(full_v + stage * 8, parity);
      accumulate(stages + stage * L::kStageBytes);
      wgmma::wait<0>();
      wgmma::pin(out);
    }
    float factor[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = softmax.sum[h];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      factor[h] = sum > 0 || sum != sum ? (drops ? args.keep_scale : 1.0f) / sum : 0.0f;
      const int row = first_row + g + 8 * h;
      if (args.lse && c == 0 && row < args.t) {
        const float log_sum = (softmax.shift[h] + log2f(sum)) * 0.6931471805599453f;
        args.lse[static_cast<std::int64_t>(work.matrix) * args.t + row] = sum == 0 ? INFINITY : log_sum;
      }
    }
    group_barrier(3 + group);
    store_accumulators(out, factor, static_cast<Bf16*>(args.out[0]) + args.out_place.here(), args.out_place.row, args.t,
                       first_row, args.aligned, resident + warp * 4096);
  }
}

}  // namespace lacuna::kernels::attention
