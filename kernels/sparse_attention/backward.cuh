// Backward: one kernel, with the roles of rows and columns as arguments. With P = exp(S - lse), dP = dO V^T and
// dS = P (dP - D), D = rowsum(dO * O):
//   dQ = scale dS K          panels are query rows; K and V are staged (main output)
//   dK = scale dS^T Q        panels are key rows, Q and dO staged, statistics by column (main output)
//   dV = P^T dO              ... (side output)
#pragma once

#include <type_traits>

#include "kernels/sparse_attention/pipeline.cuh"

namespace lacuna::kernels::attention {

/// Operand A of a panel, parked in shared memory in the order of a lane's registers: no bank conflicts.
template <class TileOf>
constexpr int kParkedBytes = TileOf::kSegments * 2 * 32 * 16;

/// Whether the panel's second operand must be parked: registers hold it beside one bf16 output (loads of parked rows
/// cost as much shared memory bandwidth as a score), not beside two, nor in f32.
template <class TileOf, bool main, bool side>
constexpr bool kParks = main && (side || TileOf::kRowBytes * (TileOf::arithmetic == Arithmetic::tf32x3 ? 2 : 1) > 256);

/// Tiles taken together: they share the loads of parked rows, and give the scheduler more to choose from. Three
/// products per f32 leave no registers for it.
template <class TileOf>
constexpr int kGradientSteps = TileOf::arithmetic == Arithmetic::tf32x3 ? 1 : 2;

template <class TileOf, bool by_column, bool main, bool side>
using GradientLayout = Layout<TileOf, kNarrowPanels, by_column, kParks<TileOf, main, side> ? kParkedBytes<TileOf> : 0>;
template <class TileOf, bool by_column, bool main, bool side>
constexpr int kGradientBytes = GradientLayout<TileOf, by_column, main, side>::kBytes;

template <class TileOf>
__device__ inline void park(std::uint32_t at, const typename TileOf::Rows& a) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int s = 0; s < TileOf::kSegments; ++s) {
    store_shared16(at + (2 * s * 32 + lane) * 16, {a[s][0], a[s][1], a[s][2], a[s][3]});
    store_shared16(at + ((2 * s + 1) * 32 + lane) * 16, {a[s][4], a[s][5], a[s][6], a[s][7]});
  }
}

template <class TileOf, int num>
__device__ inline void score_parked(float (&scores)[num][4], std::uint32_t at, const std::uint32_t (&address)[num]) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int s = 0; s < TileOf::kSegments; ++s) {
    const uint4 x = load_shared16(at + (2 * s * 32 + lane) * 16),
                y = load_shared16(at + ((2 * s + 1) * 32 + lane) * 16);
    const std::uint32_t a[8] = {x.x, x.y, x.z, x.w, y.x, y.y, y.z, y.w};
    TileOf::template score_segment<num>(scores, a, address, s);
  }
}

/// Statistics of a row: lse * log2(e), D, two dropout words.
struct Statistics {
  float lse = 0, d = 0;
  RowKey row_key;
};
__device__ inline Statistics unpack(uint4 v) { return {__uint_as_float(v.x), __uint_as_float(v.y), {v.z, v.w}}; }

/// by_column: statistics (and the dropout keys' rows) belong to the staged rows. main: dS goes to out[0].
/// side: P goes to out[1].
template <class T, class TileOf, Shape shape, bool drops, bool by_column, bool main, bool side, int step_tiles>
__global__ void __launch_bounds__((kNarrowPanels + kProducers) * 32, 1)
    gradient_kernel(const __grid_constant__ Args args) {
  constexpr int num_panels = kNarrowPanels;

  constexpr bool parks = kParks<TileOf, main, side>;
  constexpr bool holds = main && !parks;  // the second operand, in registers
  using L = GradientLayout<TileOf, by_column, main, side>;
  extern __shared__ char raw[];
  const std::uint32_t header = (shared_address(raw) + 1023) / 1024 * 1024, full = header, empty = header + 64;
  auto* words = reinterpret_cast<std::uint32_t*>(raw + (header - shared_address(raw)) + 128);
  const int warp = threadIdx.x / 32;
  const std::uint32_t parked = header + L::kHeader + warp * (parks ? kParkedBytes<TileOf> : 0);
  const std::uint32_t stages = header + L::kHeader + L::kPrivate;
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
    produce<T, shape, L, TileOf, num_panels, by_column, drops>(args, work, windows, stages, full, empty);
  } else {
    take_registers<num_panels>();
    const int first_row = (work.block * num_panels + warp) * kPanelRows;
    const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    typename TileOf::Rows a, second;
    if constexpr (holds) {
      load_rows<T, TileOf>(second, static_cast<const T*>(args.a[1]) + args.a_place[1].here(), args.a_place[1].row,
                           args.t, args.d, first_row, args.aligned, false);
    }
    if constexpr (parks) {
      load_rows<T, TileOf>(a, static_cast<const T*>(args.a[1]) + args.a_place[1].here(), args.a_place[1].row, args.t,
                           args.d, first_row, args.aligned, false);
      park<TileOf>(parked, a);
      __syncwarp();
    }
    load_rows<T, TileOf>(a, static_cast<const T*>(args.a[0]) + args.a_place[0].here(), args.a_place[0].row, args.t,
                         args.d, first_row, args.aligned, args.negate);
    Statistics of_row[2];
    if constexpr (!by_column) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const int row = min(first_row + g + 8 * h, args.t - 1);
        of_row[h] =
            unpack(reinterpret_cast<const uint4*>(args.stats)[static_cast<std::int64_t>(work.matrix) * args.t + row]);
      }
    }
    [[maybe_unused]] std::uint32_t own_word[2] = {};  // the dropout words of rows that are the pattern's columns
    if constexpr (drops && by_column)
      own_word[0] = dropout_column_word(first_row + g), own_word[1] = dropout_column_word(first_row + g + 8);
    typename TileOf::Output out0 = {}, out1 = {};
    int stage = 0;
    std::uint32_t parity = 0;
#pragma unroll 1
    for (int w = windows.next(windows.begin); w < windows.end; w = windows.next(w + 1)) {
      barrier_wait(full + stage * 8, parity);
      const std::uint32_t base = stages + stage * L::kStageBytes;
      const PanelTiles<shape, L> tiles(base, w, warp, first_row);
      const auto step = [&](auto groups, int tile) {
        constexpr int num = groups;
        const Slots<shape, num> slots(tiles, tile);
        float p[num][4] = {};
        [[maybe_unused]] float dp[num][4] = {};
        {
          std::uint32_t at[num];
          slots.score_rows(at);
#pragma unroll
          for (int n = 0; n < num; ++n) at[n] = row_chunk(base, at[n], c);
          TileOf::template score<num>(p, a, at);
          if constexpr (main) {
#pragma unroll
            for (int n = 0; n < num; ++n) at[n] += L::kRows;
            if constexpr (parks)
              score_parked<TileOf, num>(dp, parked, at);
            else
              TileOf::template score<num>(dp, second, at);
          }
        }
        slots.mask(p, first_row, args.t);
        std::uint32_t from[num][2];
        slots.output_rows(from);
#pragma unroll
        for (int n = 0; n < num; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            Statistics of_column;
            if constexpr (by_column) of_column = unpack(load_shared16(base + 2 * L::kRows + from[n][i] * 16));
            [[maybe_unused]] std::uint32_t word = 0;
            if constexpr (drops && !by_column) word = load_shared4(base + L::kWordsAt + from[n][i] * 4);
#pragma unroll
            for (int h = 0; h < 2; ++h) {
              const int e = 2 * h + i;
              const Statistics& of = by_column ? of_column : of_row[h];
              const float x = exp2_fast(fmaf(p[n][e], args.scale, -of.lse));
              float kept = 1;
              if constexpr (drops)
                kept = is_dropped(of.row_key, by_column ? own_word[h] : word, args.drop_below) ? 0.0f : args.keep_scale;
              p[n][e] = x * kept;
              if constexpr (main) dp[n][e] = x * fmaf(dp[n][e], kept, -of.d);
            }
            from[n][i] = row_chunk(base, from[n][i], g);
          }
        }
        if constexpr (main) TileOf::template accumulate<num>(out0, dp, from);
        if constexpr (side) {
#pragma unroll
          for (int n = 0; n < num; ++n) from[n][0] += L::kRows, from[n][1] += L::kRows;
          TileOf::template accumulate<num>(out1, p, from);
        }
      };
      int tile = tiles.begin;
      if constexpr (step_tiles > 1) {
#pragma unroll 1
        for (; tile + step_tiles <= tiles.end; tile += step_tiles)
          step(std::integral_constant<int, 2 * step_tiles>{}, tile);
      }
#pragma unroll 1
      for (; tile < tiles.end; ++tile) step(std::integral_constant<int, 2>{}, tile);
      __syncwarp();
      if (threadIdx.x % 32 == 0) barrier_arrive(empty + stage * 8);
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
    if (args.adds) wait_for_last_kernel();
    const float scale[2] = {args.out_scale, args.out_scale}, one[2] = {1, 1};
    const std::int64_t at = args.out_place.here();
    if constexpr (main)
      store_rows<T, TileOf>(out0, scale, static_cast<T*>(args.out[0]) + at, args.out_place.row, args.t, args.d,
                            first_row, args.aligned, args.adds);
    if constexpr (side)
      store_rows<T, TileOf>(out1, one, static_cast<T*>(args.out[1]) + at, args.out_place.row, args.t, args.d, first_row,
                            args.aligned, args.adds);
  }
}

/// stats[matrix * t + row] = (lse * log2(e), sum over d of dout * out, dropout words); eight lanes a row, blocks of 32 rows
/// of one matrix. place: of out and dout.
template <class T, bool drops>
__global__ void __launch_bounds__(256)
    statistics_kernel(const T* __restrict__ out, const T* __restrict__ dout, const float* __restrict__ lse, Place place,
                      int t, int d, bool aligned, std::uint64_t seed, RandomSequence sequence,
                      float4* __restrict__ stats) {
  constexpr int kElements = 16 / sizeof(T);
  const int matrix = matrix_here(), row = static_cast<int>(blockIdx.y * 32 + threadIdx.x / 8);
  const int part = threadIdx.x % 8;
  float sum = 0;
  if (row < t) {
    const std::int64_t at = place.here() + static_cast<std::int64_t>(row) * place.row;
    for (int i = part * kElements; i < d; i += 8 * kElements) {
      const uint4 x = load_global16(out + at + i, aligned), y = load_global16(dout + at + i, aligned);
      const T* a = reinterpret_cast<const T*>(&x);
      const T* b = reinterpret_cast<const T*>(&y);
#pragma unroll
      for (int j = 0; j < kElements; ++j) {
        if constexpr (sizeof(T) == 2)
          sum = fmaf(to_float(a[j]), to_float(b[j]), sum);
        else
          sum = fmaf(a[j], b[j], sum);
      }
    }
  }
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2) sum += __shfl_xor_sync(kFullWarp, sum, offset);
  if (row >= t || part != 0) return;
  const std::int64_t of = std::int64_t{matrix} * t + row;
  float4 result{lse[of] * 1.4426950408889634f, sum, 0, 0};
  if constexpr (drops) {
    const RowKey key = dropout_row_key(seed, sequence, matrix, t, row);
    result.z = __uint_as_float(key.a), result.w = __uint_as_float(key.b);
  }
  stats[of] = result;
}

}  // namespace lacuna::kernels::attention
