// The tile kernel of SDDMM (Hopper: copy engine, mbarriers, wgmma). A persistent block takes work items (a tile of 128 rows
// by kCols columns, a part of k, a matrix of the batch) one after another. Warpgroup 0 brings pieces of 128 bytes along k of
// both operands into a ring of stages; warpgroups 1 and 2 each multiply 64 rows by all columns, then store what the pattern
// has of their sums.
//
// split_tf32: an f32 is hi + lo, each tf32; lo*hi + hi*lo + hi*hi misses lo*lo, 2^-24 of the product. Warpgroup 0 splits B
// in shared memory (hi in place, lo beside it); the others split A on its way into registers, where wgmma takes it from.
// The tensor core cuts off its sums, so a long chain drifts towards zero: each piece of 32 along k starts from zero, the
// small products first, and is added to the total by an ordinary f32 add.
//
// half: each row of A and of B was multiplied by a power of two, and its factor undoes that as the sums are sampled, A's
// first.
#pragma once

#include "kernels/sddmm/sddmm_tile_masks.cuh"

namespace lacuna::kernels {

namespace {

template <SddmmMath kMath, int kCols, bool kMasked, bool kTurnedA, bool kTurnedB, class Out>
__global__ void __launch_bounds__(kThreads, 1)
    sddmm_tiles_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                       const TileProblem p, Out* __restrict__ out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using L = Layout<kMath, kCols, kMasked>;
  using Place = RingPlace<L::kStages>;
  extern __shared__ std::byte raw_shared[];
  __shared__ Barriers barriers;
  __shared__ Note notes[L::kStages];
  std::byte* ring = raw_shared + (1024 - shared_address(raw_shared) % 1024) % 1024;
  float* samples = reinterpret_cast<float*>(ring + L::kStages * L::kStageBytes);
  TileMasks<kCols>& masks = *reinterpret_cast<TileMasks<kCols>*>(samples + kConsumerWarps * L::kWarpBytes / 4);
  const int warpgroup = threadIdx.x / 128;

  // The kernel that adds the parts is launched by now, and waits for this one's end.
  if (p.splits > 1) cudaTriggerProgrammaticLaunchCompletion();
  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&barriers.full[i], 1);
      barrier_init(&barriers.split[i], 128);
      barrier_init(&barriers.empty[i], kConsumerWarps);
    }
    barrier_init(&barriers.masks_full, kMaskWarps);
    barrier_init(&barriers.masks_empty, kConsumerWarps);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();

  if (warpgroup == 0) {
    fewer_registers<L::kLoadRegisters>();
    // Loads run `ahead` pieces in front of the splitting, over the ends of items.
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
    bool ended = false;
    const auto load_next = [&] {  // one thread
      if (ended) return;
      ended = load_index >= p.items;
      barrier_wait(&barriers.empty[load_place.stage], load_place.parity ^ 1);
      std::byte* stage = ring + load_place.stage * L::kStageBytes;
      std::uint64_t* full = &barriers.full[load_place.stage];
      notes[load_place.stage] = {load.row, load.col, load.split, load.matrix, load_piece + 1 == load.num_pieces, ended};
      if (ended) return barrier_arrive(full);
      barrier_expect(full, L::kABytes + L::kBBytes);
      const int k = (load.first_piece + load_piece) * L::kElements;
      load_operand<kTurnedA, kRows>(stage, &a_map, full, k, load.row, p.a_batched ? load.matrix : 0);
      load_operand<kTurnedB, kCols>(stage + L::kABytes, &b_map, full, k, load.col, p.b_batched ? load.matrix : 0);
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
        while (!ended) load_next();
      } else if (kMasked && threadIdx.x >= 32) {
        std::uint32_t parity = 1;
        for (std::int64_t index = blockIdx.x; index < p.items; index += gridDim.x) {
          const WorkItem item = work_item<kCols>(p, index);
          if (item.empty) continue;
          barrier_wait(&barriers.masks_empty, parity);
          parity ^= 1;
          if (p.plan.masks != nullptr) {
            fetch_masks<kCols>(p, item, masks, &barriers.masks_full);
          } else {
            if constexpr (kCols == kGroup) make_masks(p, item, masks);
          }
          __syncwarp();
          if (threadIdx.x % 32 == 0) barrier_arrive(&barriers.masks_full);
        }
      }
    } else {
      if (threadIdx.x == 0) {
        for (int i = 0; i < kLoadAhead; ++i) load_next();
      }
      for (Place place;; place.next()) {
        if (threadIdx.x == 0) load_next();
        __syncwarp();
        barrier_wait(&barriers.full[place.stage], place.parity);
        if (notes[place.stage].end) break;
        split_b<L::kBBytes>(ring + place.stage * L::kStageBytes + L::kABytes);
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
        barrier_arrive(&barriers.split[place.stage]);
      }
    }
  } else {
    more_registers<(504 - L::kLoadRegisters) / 2>();
    const int lane = threadIdx.x % 32;
    const int warp_row = threadIdx.x / 32 * kSampleRows - 64;  // of the tile: warps 4..11 take 16 rows each
    float* sums = samples + (threadIdx.x / 32 - 4) * (L::kWarpBytes / 4);
    const std::uint32_t ring_address = shared_address(ring);
    Place place;
    std::uint32_t masks_parity = 0;
    const auto release = [&](int stage) {
      if (lane == 0) barrier_arrive(&barriers.empty[stage]);
    };
    while (true) {
      barrier_wait(&barriers.full[place.stage], place.parity);
      const Note item = notes[place.stage];
      if (item.end) break;
      float row_factor = 1.0f;  // of row r in lane r
      if constexpr (kMath == SddmmMath::half) {
        const int own = item.row + warp_row + lane;
        if (lane < kSampleRows && own < p.m) row_factor = __ldg(p.factors.a + own);
      }
      float total[kCols / 2];
      Out* values = out + item.matrix * p.c_stride + item.split * p.split_stride;
      Run run;
      int columns[kTurnRows<kCols>];
      if constexpr (!kMasked) run = load_run(p, item.row + warp_row + lane, item.col / kGroup, lane < kSampleRows);
      if constexpr (L::kSplit) {
        // ldmatrix: lanes 0-15 name the 16 rows' first 16 bytes of a step, lanes 16-31 the second.
        const int a_row = warp_row + lane % 16;
        const std::uint32_t a_offset = a_row * kPieceBytes;
        float part[kCols / 2];
#pragma unroll
        for (int i = 0; i < kCols / 2; ++i) total[i] = 0.0f;
        bool last = false;
        for (int piece = 0; !last; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);  // A is TMA's, B is the splitter's
          barrier_wait(&barriers.split[place.stage], place.parity);
          last = notes[place.stage].last;
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
          if (piece == 1) prefetch_columns(p, run);
          if (last) load_columns<kCols>(p, item.col, run, 0, 0, columns);
          wgmma::wait<0>();
          wgmma::pin(part);
          __syncwarp();
          release(place.stage);
          place.next();
#pragma unroll
          for (int i = 0; i < kCols / 2; ++i) total[i] += part[i];
        }
      } else {
        int before = -1;  // the stage that the last group of products still reads
        bool last = false;
        for (int piece = 0; !last; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);
          last = notes[place.stage].last;
          const std::uint32_t stage = ring_address + place.stage * L::kStageBytes;
          const std::uint64_t a = operand_descriptor<kTurnedA>(stage + (warpgroup - 1) * 64 * kPieceBytes);
          const std::uint64_t b = operand_descriptor<kTurnedB>(stage + L::kABytes);
          constexpr int kStepA = kTurnedA ? 128 : 2, kStepB = kTurnedB ? 128 : 2;  // 16 bytes each
          wgmma::pin(total);
          wgmma::fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            if constexpr (kMath == SddmmMath::bf16)
              wgmma::bf16<kTurnedA, kTurnedB>(total, a + kStepA * step, b + kStepB * step, piece > 0 || step > 0);
            else if constexpr (kMath == SddmmMath::half)
              wgmma::f16(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
            else
              wgmma::tf32(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
          }
          wgmma::commit();
          wgmma::pin(total);
          if constexpr (!kMasked) {
            if (piece == 1) prefetch_columns(p, run);
            if (last) load_columns<kCols>(p, item.col, run, 0, 0, columns);
          }
          wgmma::wait<1>();
          if (before >= 0) release(before);
          before = place.stage;
          place.next();
        }
        wgmma::wait<0>();
        wgmma::pin(total);
        if (before >= 0) release(before);
      }
      if constexpr (kMasked) {
        barrier_wait(&barriers.masks_full, masks_parity);
        masks_parity ^= 1;
        sample_by_masks<kCols>(total, sums, masks, p, warp_row, values);
        __syncwarp();
        barrier_arrive_warp(&barriers.masks_empty);
      } else {
        sample<kMath == SddmmMath::half, kCols>(total, sums, p, item.col, run, row_factor, columns, values);
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
