// Forward: a warp per panel walks the windows with a running softmax.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/sparse_attention/pipeline.cuh"

namespace lacuna::kernels::attention {

/// Rows' maxima may lag this far behind, in powers of two, before sums are rescaled: exact either way, since the same
/// maximum divides in the end.
constexpr float kSlack = 8;

template <class TileOf>
struct RunningSoftmax {
  typename TileOf::Output out = {};
  float maximum[2];       // in force, of raw scores; rows g and g + 8
  float limit[2];         // beyond which it must move
  float shift[2];         // maximum * scale, 0 while there is none
  float sum[2] = {0, 0};  // this lane's columns

  __device__ RunningSoftmax() {
    maximum[0] = maximum[1] = limit[0] = limit[1] = -INFINITY;
    shift[0] = shift[1] = 0;
  }
  __device__ void raise(const float (&seen)[2], float scale) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float m = fmaxf(seen[h], __shfl_xor_sync(kFullWarp, seen[h], 1));
      m = fmaxf(maximum[h], fmaxf(m, __shfl_xor_sync(kFullWarp, m, 2)));
      const float used = m == -INFINITY ? 0.0f : m;
      const float factor = exp2_fast((maximum[h] - used) * scale);
      maximum[h] = m;
      limit[h] = m + kSlack / scale;
      shift[h] = used * scale;
      sum[h] *= factor;
#pragma unroll
      for (int l = 0; l < TileOf::kLines; ++l)
#pragma unroll
        for (int j = 0; j < TileOf::kColumns; ++j) out[l][j][2 * h] *= factor, out[l][j][2 * h + 1] *= factor;
    }
  }
};

template <Shape shape, class TileOf, class L, bool drops, int num>
__device__ __forceinline__ void forward_step(const Args& args, RunningSoftmax<TileOf>& state,
                                             const typename TileOf::Rows& q, const PanelTiles<shape, L>& tiles,
                                             int tile, std::uint32_t stage, int first_row, const RowKey (&row_key)[2]) {
  const std::uint32_t g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const Slots<shape, num> slots(tiles, tile);
  float p[num][4] = {};
  {
    std::uint32_t at[num];
    slots.score_rows(at);
#pragma unroll
    for (int n = 0; n < num; ++n) at[n] = row_chunk(stage, at[n], c);
    TileOf::template score<num>(p, q, at);
  }
  slots.mask(p, first_row, args.t);
  float seen[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int n = 0; n < num; ++n)
#pragma unroll
    for (int e = 0; e < 4; ++e) seen[e / 2] = fmaxf(seen[e / 2], p[n][e]);
  if (__any_sync(kFullWarp, seen[0] > state.limit[0] || seen[1] > state.limit[1])) state.raise(seen, args.scale);
  std::uint32_t from[num][2];
  if constexpr (drops) slots.output_rows(from);
#pragma unroll
  for (int n = 0; n < num; ++n) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      [[maybe_unused]] std::uint32_t word = 0;
      if constexpr (drops) word = load_shared4(stage + L::kWordsAt + from[n][i] * 4);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float& x = p[n][2 * h + i];
        x = exp2_fast(fmaf(x, args.scale, -state.shift[h]));
        state.sum[h] += x;
        if constexpr (drops) x = is_dropped(row_key[h], word, args.drop_below) ? 0.0f : x;
      }
    }
  }
  if constexpr (!drops) slots.output_rows(from);
#pragma unroll
  for (int n = 0; n < num; ++n)
#pragma unroll
    for (int i = 0; i < 2; ++i) from[n][i] = row_chunk(stage + L::kRows, from[n][i], g);
  TileOf::template accumulate<num>(state.out, p, from);
}

template <class T, class TileOf, int num_panels, Shape shape, bool drops, int step_tiles, int diag = 0>
__global__ void __launch_bounds__((num_panels + kProducers) * 32, 1) forward_kernel(const __grid_constant__ Args args) {
  using L = Layout<TileOf, num_panels, false, 0>;
  extern __shared__ char raw[];
  const std::uint32_t header = (shared_address(raw) + 1023) / 1024 * 1024, full = header, empty = header + 64;
  auto* words = reinterpret_cast<std::uint32_t*>(raw + (header - shared_address(raw)) + 128);
  const std::uint32_t stages = header + L::kHeader;
  const int warp = threadIdx.x / 32;
  const Work work = block_work<shape>(args);
  const Windows<shape, num_panels, L::kWindow> windows(args, work, words);
  if (threadIdx.x == 0) {
    for (int s = 0; s < L::kStages; ++s)
      barrier_init(full + s * 8, 32 * kProducers), barrier_init(empty + s * 8, num_panels);
    barrier_init_fence();
  }
  __syncthreads();
  let_next_kernel_start();
  if (args.adds && windows.next(windows.begin) >= windows.end) {
    wait_for_last_kernel();
    return;
  }
  if (warp >= num_panels) {
    give_registers<num_panels>();
    produce<T, shape, L, TileOf, num_panels, false, drops, diag>(args, work, windows, stages, full, empty);
  } else {
    take_registers<num_panels>();
    const int first_row = (work.block * num_panels + warp) * kPanelRows;
    typename TileOf::Rows q;
    load_rows<T, TileOf>(q, static_cast<const T*>(args.a[0]) + args.a_place[0].here(), args.a_place[0].row, args.t,
                         args.d, first_row, args.aligned, args.negate);
    RowKey row_key[2];
    const int g = threadIdx.x % 32 / 4;
    if constexpr (drops) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        row_key[h] =
            dropout_row_key(args.seed, args.sequence, args.first_matrix + work.matrix, args.t, first_row + g + 8 * h);
    }
    RunningSoftmax<TileOf> state;
    int stage = 0;
    std::uint32_t parity = 0;
    for (int w = windows.next(windows.begin); w < windows.end; w = windows.next(w + 1)) {
      barrier_wait(full + stage * 8, parity);
      const std::uint32_t base = stages + stage * L::kStageBytes;
      const PanelTiles<shape, L> tiles(base, w, warp, first_row);
      int tile = diag == 2 ? tiles.end : tiles.begin;
      if constexpr (step_tiles > 1) {
        for (; tile + step_tiles <= tiles.end; tile += step_tiles)
          forward_step<shape, TileOf, L, drops, 2 * step_tiles>(args, state, q, tiles, tile, base, first_row, row_key);
      }
      for (; tile < tiles.end; ++tile)
        forward_step<shape, TileOf, L, drops, 2>(args, state, q, tiles, tile, base, first_row, row_key);
      __syncwarp();
      if (threadIdx.x % 32 == 0) barrier_arrive(empty + stage * 8);
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
    if (args.adds) wait_for_last_kernel();
    float factor[2], weight[2] = {1, 1};
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float sum = state.sum[h];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      factor[h] = sum > 0 || sum != sum ? (drops ? args.keep_scale : 1.0f) / sum : 0.0f;
      const int row = first_row + g + 8 * h;
      const bool keeps = args.lse && row < args.t;
      float* to = keeps ? args.lse + static_cast<std::int64_t>(work.matrix) * args.t + row : nullptr;
      const float other = keeps && args.adds ? *to : INFINITY;  // of the cells' part; infinite: it is empty
      __syncwarp();                                             // four lanes read what one of them writes
      float log_sum = sum == 0 ? INFINITY : (state.shift[h] + log2f(sum)) * 0.6931471805599453f;
      if (log_sum == INFINITY) {
        log_sum = other;
      } else if (other == INFINITY) {
        weight[h] = 0;
      } else {
        const float both = fmaxf(log_sum, other) + log1pf(expf(-fabsf(log_sum - other)));
        factor[h] *= expf(log_sum - both);
        weight[h] = expf(other - both);
        log_sum = both;
      }
      if (keeps && threadIdx.x % 4 == 0) *to = log_sum;
    }
    store_rows<T, TileOf>(state.out, factor, static_cast<T*>(args.out[0]) + args.out_place.here(), args.out_place.row,
                          args.t, args.d, first_row, args.aligned, args.adds, weight);
  }
}

}  // namespace lacuna::kernels::attention
