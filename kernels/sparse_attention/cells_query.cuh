// dQ of cells from what the pass over the columns kept: dQ = scale dS K. Five products a cell where dQ by itself takes
// three more than dK and dV.
#pragma once

#include "kernels/sparse_attention/cells_backward.cuh"

namespace lacuna::kernels::attention {

struct CellQueryLayout {
  static constexpr int kHeader = 1024;
  static constexpr int kLineBytes = 2 * kBoxBytes;  // 128 rows of K
  static constexpr int kStageBytes = 2 * kScoreBytes + kResidentBytes;
  static constexpr int kStages = 3;
  static constexpr int kBytes = 1024 + kHeader + kResidentBytes + kStages * kStageBytes;
  static_assert(kBytes <= kMaxSharedBytes);
};

__device__ inline void store_matrices(std::uint32_t at, uint4 m) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at), "r"(m.x), "r"(m.y),
               "r"(m.z), "r"(m.w)
               : "memory");
}

/// staged[0]: k; out[0]: dq.
template <Shape shape>
__global__ void __launch_bounds__(kCellThreads, 1) cell_query_kernel(const __grid_constant__ CellArgs args) {
  using L = CellQueryLayout;
  extern __shared__ char raw[];
  const std::uint32_t header = (shared_address(raw) + 1023) / 1024 * 1024;
  const std::uint32_t full = header, empty = header + 64;
  const std::uint32_t scratch = header + L::kHeader, stages = scratch + kResidentBytes;
  const CellWork work = CellWork::of<shape, true>(args);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < L::kStages; ++s) barrier_init(full + s * 8, 128), barrier_init(empty + s * 8, 8);
    barrier_init_fence();
  }
  __syncthreads();
  let_next_kernel_start();
  wait_for_last_kernel();
  int stage = 0;
  if (warp >= 8) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    const int thread = threadIdx.x - 256;
    std::uint32_t parity = 1;
#pragma unroll 1
    for (int i = work.begin; i < work.end; ++i) {
      const int window = work.window<shape>(i);
      const std::uint32_t base = stages + stage * L::kStageBytes, keys = base + 2 * kScoreBytes;
      barrier_wait(empty + stage * 8, parity);
      if (thread == 0) {
        barrier_expect(full + stage * 8, 2 * kScoreBytes + (args.aligned ? kResidentBytes : 0));
        const std::int64_t place =
            shape == Shape::plan ? work.plan->cell_places[i] : lower_place(args.blocks, work.block, window);
        std::uint64_t policy;  // dS is read once, K again and again: without this, 0.34 ms for 0.30
        asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
        asm volatile(
            "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], "
            "%4;" ::"r"(base),
            "l"(scores_of<shape>(args, work.matrix, place)), "r"(2 * kScoreBytes), "r"(full + stage * 8), "l"(policy)
            : "memory");
      }
#pragma unroll
      for (int half = 0; half < 2; ++half)
        stage_rows(args, &args.staged_maps[0], args.staged[0], args.staged_place[0], window * kCell + half * kBoxRows,
                   keys + half * kBoxBytes, L::kLineBytes, full + stage * 8, thread, work.head);
      if (!args.aligned) stores_to_async();
      barrier_arrive(full + stage * 8);
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    const int group = warp / 4;
    float out[64] = {};
    std::uint32_t parity = 0;
#pragma unroll 1
    for (int i = work.begin; i < work.end; ++i) {
      const std::uint32_t base = stages + stage * L::kStageBytes;
      barrier_wait(full + stage * 8, parity);
      // From the order of registers to lines of 128 bytes for each column, swizzled; in place: a warp's 16 columns are 2 KB
      // either way.
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const std::uint32_t own = base + group * kScoreBytes + (warp % 4 * 2 + part) * 2048;
        uint4 ds[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) ds[j] = load_shared16(own + j * 512 + lane * 16);
        __syncwarp();
#pragma unroll
        for (int j = 0; j < 4; ++j)
          store_matrices(own + lane % 16 * 128 + ((2 * j + lane / 16) ^ (lane % 8)) * 16, ds[j]);
      }
      stores_to_async();
      group_barrier(3 + group);
      const std::uint64_t a = wgmma::descriptor_mn(base + group * kScoreBytes, kScoreBytes);
      const std::uint64_t b = wgmma::descriptor_mn(base + 2 * kScoreBytes, L::kLineBytes);
      wgmma::fence();
#pragma unroll
      for (int k = 0; k < 8; ++k) wgmma::bf16_n128_mn(out, a + k * (2048 >> 4), b + k * (2048 >> 4));
      wgmma::commit();
      wgmma::wait<0>();
      wgmma::pin(out);
      if (lane == 0) barrier_arrive(empty + stage * 8);
      if (++stage == L::kStages) stage = 0, parity ^= 1;
    }
    const float scale[2] = {args.out_scale, args.out_scale};
    store_accumulators(out, scale, static_cast<Bf16*>(args.out[0]) + args.out_place.of(work.head), args.out_place.row,
                       args.t, work.block * kCell + warp * kPanelRows, args.aligned, scratch + warp * 4096);
  }
}

}  // namespace lacuna::kernels::attention
