// The tile kernel of SDDMM (Hopper: copy engine, mbarriers, wgmma). A persistent block takes work items (a tile of 128 rows
// by kCols columns, a part of k, a matrix of the batch) one after another. Warpgroup 0 brings pieces of 128 bytes along k of
// both operands into a ring of stages; warpgroups 1 and 2 each multiply 64 rows by all columns, then sample: each warp
// puts 16 x 64 sums at a time into its own shared memory and picks out the entries that the plan's bit masks name.
//
// split_tf32: an f32 is hi + lo, each tf32; lo*hi + hi*lo + hi*hi misses lo*lo, 2^-24 of the product. Warpgroup 0 splits B
// in shared memory (hi in place, lo beside it); the others split A on its way into registers, where wgmma takes it from.
// The tensor core cuts off its sums, so a long chain drifts towards zero: each piece of 32 along k starts from zero, the
// small products first, and is added to the total by an ordinary f32 add.
//
// half: each row of A and of B was multiplied by a power of two, and its factor undoes that: A's as the sums go to shared
// memory, B's as they are sampled.
#pragma once

#include "kernels/sddmm/sddmm_tile_parts.cuh"

namespace lacuna::kernels {

namespace {

template <SddmmMath kMath, int kCols, class Out>
__global__ void __launch_bounds__(kThreads, 1)
    sddmm_tiles_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                       const TileProblem p, Out* __restrict__ out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using L = Layout<kMath, kCols>;
  using Place = RingPlace<L::kStages>;
  extern __shared__ std::byte raw_shared[];
  __shared__ Barriers barriers;
  std::byte* ring = raw_shared + (1024 - shared_address(raw_shared) % 1024) % 1024;
  float* samples = reinterpret_cast<float*>(ring + L::kStages * L::kStageBytes);
  const int warpgroup = threadIdx.x / 128;

  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&barriers.full[i], 1);
      barrier_init(&barriers.split[i], 128);
      barrier_init(&barriers.empty[i], kConsumerWarps);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();

  if (warpgroup == 0) {
    fewer_registers<56>();
    // Loads run `ahead` pieces in front of the splitting, over the ends of items: both walk the same list.
    std::int64_t load_index = blockIdx.x;
    WorkItem load = {};
    int load_piece = 0;
    Place load_place;
    const auto settle = [&] {  // at the next piece to load, or past the end
      while (load_index < p.items && (load.empty || load_piece == load.num_pieces)) {
        load_index += gridDim.x;
        load_piece = 0;
        if (load_index < p.items) load = work_item<kCols>(p, load_index);
      }
    };
    const auto load_next = [&] {  // one thread
      if (load_index >= p.items) return;
      barrier_wait(&barriers.empty[load_place.stage], load_place.parity ^ 1);
      std::byte* stage = ring + load_place.stage * L::kStageBytes;
      std::uint64_t* full = &barriers.full[load_place.stage];
      barrier_expect(full, L::kABytes + L::kBBytes);
      const int k = (load.first_piece + load_piece) * L::kElements;
      tma_load(stage, &a_map, full, k, load.row, p.a_batched ? load.matrix : 0);
      tma_load(stage + L::kABytes, &b_map, full, k, load.col, p.b_batched ? load.matrix : 0);
      load_place.next();
      ++load_piece;
      settle();
    };
    if (load_index < p.items) {
      load = work_item<kCols>(p, load_index);
      settle();
    }
    if constexpr (!L::kSplit) {
      if (threadIdx.x == 0) {
        while (load_index < p.items) load_next();
      }
    } else {
      if (threadIdx.x == 0) {
        for (int i = 0; i < kLoadAhead; ++i) load_next();
      }
      Place place;
      for (std::int64_t index = blockIdx.x; index < p.items; index += gridDim.x) {
        const WorkItem item = work_item<kCols>(p, index);
        if (item.empty) continue;
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          if (threadIdx.x == 0) load_next();
          __syncwarp();
          barrier_wait(&barriers.full[place.stage], place.parity);
          split_b<L::kBBytes>(ring + place.stage * L::kStageBytes + L::kABytes);
          asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
          barrier_arrive(&barriers.split[place.stage]);
          place.next();
        }
      }
    }
  } else {
    more_registers<224>();
    const int lane = threadIdx.x % 32;
    const int warp_row = threadIdx.x / 32 * kSampleRows - 64;  // of the tile: warps 4..11 take 16 rows each
    float* sums = samples + (threadIdx.x / 32 - 4) * (kSampleBytes / 4);
    const std::uint32_t ring_address = shared_address(ring);
    Place place;
    for (std::int64_t index = blockIdx.x; index < p.items; index += gridDim.x) {
      const WorkItem item = work_item<kCols>(p, index);
      if (item.empty) continue;

      // The runs of entries, read ahead of their use: lane r has row r's.
      Run runs[kCols / kCell];
#pragma unroll
      for (int j = 0; j < kCols / kCell; ++j)
        runs[j] = load_run(p, item.row + warp_row + lane, item.col / kCell + j, lane < kSampleRows);

      float row_factors[2] = {1.0f, 1.0f};  // of the two rows whose sums this lane has
      if constexpr (kMath == SddmmMath::half) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const int own = item.row + warp_row + lane / 4 + 8 * i;
          if (own < p.m) row_factors[i] = __ldg(p.factors.a + own);
        }
      }
      float total[kCols / 2];
      if constexpr (L::kSplit) {
        // ldmatrix: lanes 0-15 name the 16 rows' first 16 bytes of a step, lanes 16-31 the second.
        const int a_row = warp_row + lane % 16;
        const std::uint32_t a_offset = a_row * kPieceBytes;
        float part[kCols / 2];
#pragma unroll
        for (int i = 0; i < kCols / 2; ++i) total[i] = 0.0f;
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);  // A is TMA's, B is the splitter's
          barrier_wait(&barriers.split[place.stage], place.parity);
          const std::uint32_t stage = ring_address + place.stage * L::kStageBytes;
          std::uint32_t hi[4][4], lo[4][4];
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            const std::uint32_t at = stage + a_offset + (((step * 2 + lane / 16) ^ (a_row & 7)) * 16);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                         : "=r"(hi[step][0]), "=r"(hi[step][1]), "=r"(hi[step][2]), "=r"(hi[step][3])
                         : "r"(at)
                         : "memory");
          }
#pragma unroll
          for (int step = 0; step < 4; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const std::uint32_t x = hi[step][i];
              hi[step][i] = round_tf32(x);
              lo[step][i] = __float_as_uint(__uint_as_float(x) - __uint_as_float(hi[step][i]));
            }
          }
          const std::uint64_t b_hi = wgmma::descriptor(stage + L::kABytes);
          const std::uint64_t b_lo = wgmma::descriptor(stage + L::kABytes + L::kBBytes);
          wgmma::pin(part);
          wgmma::fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            wgmma::tf32(part, lo[step], b_hi + 2 * step, step > 0);
            wgmma::tf32(part, hi[step], b_lo + 2 * step, 1);
          }
#pragma unroll
          for (int step = 0; step < 4; ++step) wgmma::tf32(part, hi[step], b_hi + 2 * step, 1);
          wgmma::commit();
          wgmma::wait<0>();
          wgmma::pin(part);
          __syncwarp();
          if (lane == 0) barrier_arrive(&barriers.empty[place.stage]);
          place.next();
#pragma unroll
          for (int i = 0; i < kCols / 2; ++i) total[i] += part[i];
        }
      } else {
        int before = -1;  // the stage that the last group of products still reads
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);
          const std::uint32_t stage = ring_address + place.stage * L::kStageBytes;
          const std::uint64_t a = wgmma::descriptor(stage + (warpgroup - 1) * 64 * kPieceBytes);
          const std::uint64_t b = wgmma::descriptor(stage + L::kABytes);
          wgmma::pin(total);
          wgmma::fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            if constexpr (kMath == SddmmMath::bf16)
              wgmma::bf16(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
            else if constexpr (kMath == SddmmMath::half)
              wgmma::f16(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
            else
              wgmma::tf32(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
          }
          wgmma::commit();
          wgmma::pin(total);
          wgmma::wait<1>();
          if (before >= 0 && lane == 0) barrier_arrive(&barriers.empty[before]);
          before = place.stage;
          place.next();
        }
        wgmma::wait<0>();
        wgmma::pin(total);
        if (before >= 0 && lane == 0) barrier_arrive(&barriers.empty[before]);
        if (item.num_pieces == 0) {
#pragma unroll
          for (int i = 0; i < kCols / 2; ++i) total[i] = 0.0f;
        }
      }

      Out* to = out + item.matrix * p.c_stride + item.split * p.split_stride;
      const int g = lane / 4, t = lane % 4;
#pragma unroll
      for (int cell = 0; cell < kCols / kCell; ++cell) {
        if (!__any_sync(0xffffffffu, (runs[cell].low | runs[cell].high) != 0)) continue;
#pragma unroll
        for (int j = 0; j < kCell / 8; ++j) {
          const float* d = total + (cell * (kCell / 8) + j) * 4;
          const int column = j * 8 + t * 2;
          *reinterpret_cast<float2*>(sums + sum_place(g, column)) = {d[0] * row_factors[0], d[1] * row_factors[0]};
          *reinterpret_cast<float2*>(sums + sum_place(g + 8, column)) = {d[2] * row_factors[1], d[3] * row_factors[1]};
        }
        __syncwarp();
        const int first_column = item.col + cell * kCell;
        const float* factors = kMath == SddmmMath::half ? p.factors.b + first_column : nullptr;
        sample<kMath == SddmmMath::half>(sums, runs[cell], to, p.scale, factors, p.n - first_column);
        __syncwarp();
      }
    }
  }
#else
  __trap();
#endif
}

/// c[i] = scale * (partial[0][i] + partial[1][i] + ...), in order.
template <class Out>
__global__ void __launch_bounds__(256)
    sddmm_add_parts(const float* __restrict__ parts, std::int64_t nnz, std::int64_t split_stride, int splits,
                    std::int64_t c_stride, float scale, Out* __restrict__ c) {
#if __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
  const std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= nnz) return;
  const float* from = parts + blockIdx.y * nnz + i;
  float sum = 0.0f;
#pragma unroll 8
  for (int s = 0; s < splits; ++s) sum += from[s * split_stride];
  store(c + blockIdx.y * c_stride + i, scale * sum);
}

}  // namespace

}  // namespace lacuna::kernels
