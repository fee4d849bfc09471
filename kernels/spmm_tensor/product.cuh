// The product of spmm_tensor: one warp has B's slabs and A's tiles copied to shared memory, two warpgroups multiply.
#pragma once

#include "kernels/common/dependent_launch.cuh"
#include "kernels/spmm_tensor/consumer.cuh"

namespace lacuna::kernels {

template <class S>
__device__ void copy_b(const SpmmTensorBlock& block, const CUtensorMap& b, int n, int slab, int stage) {
  constexpr int kBoxN = spmm_tensor_layout::kRowBytes / sizeof(float);
  constexpr int kBoxBytes = S::kSlabK * spmm_tensor_layout::kRowBytes;
  const std::uint32_t to = block.stages + stage * S::kStageBytes, full = block.full + 8 * stage;
  barrier_arrive_expect(full, S::kStageBytes);  // A's tiles included
#pragma unroll
  for (int box = 0; box < S::kCols / kBoxN; ++box)
    copy_box(to + box * kBoxBytes, b, n + box * kBoxN, slab * S::kSlabK, full);
}

/// B may be read before A is dense: the first stages' slabs are on their way while that is waited for.
template <class S>
__device__ void copy_b_early(const SpmmTensorArguments& p, const SpmmTensorBlock& block, const CUtensorMap& b) {
  const SpmmTensorTile tile = tile_at<S>(p, block, block.first);
  for (int i = 0; i < min(S::kStages, tile.end - tile.begin); ++i) copy_b<S>(block, b, tile.n, tile.begin + i, i);
}

/// One thread.
template <class S>
__device__ void spmm_tensor_produce(const SpmmTensorArguments& p, const SpmmTensorBlock& block, const CUtensorMap& a,
                                    const CUtensorMap& b) {
  int stage = 0, early = p.b_is_ready ? S::kStages : 0;
  unsigned phase = 1;  // a fresh barrier counts as if its previous phase had ended: the first wait passes
  wait_for_previous();
  for (int index = block.first; index < p.m_tiles * p.n_tiles; index += block.step) {
    const SpmmTensorTile tile = tile_at<S>(p, block, index);
    early = min(early, tile.end - tile.begin);
    for (int slab = tile.begin; slab < tile.end; ++slab) {
      const std::uint32_t to = block.stages + stage * S::kStageBytes + S::kSlabBytes, full = block.full + 8 * stage;
      barrier_wait(block.empty + 8 * stage, phase);
      if (--early < 0) copy_b<S>(block, b, tile.n, slab, stage);
      copy_box(to, a, slab * S::kSlabK, tile.m, full);
      copy_box(to + S::kTileBytes, a, slab * S::kSlabK, p.m + tile.m, full);
      if (++stage == S::kStages) stage = 0, phase ^= 1;
    }
  }
}

__device__ __forceinline__ void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(reinterpret_cast<std::uint64_t>(&map)) : "memory");
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    spmm_tensor_kernel(const __grid_constant__ SpmmTensorArguments p, const __grid_constant__ CUtensorMap a,
                       const __grid_constant__ CUtensorMap b) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)  // sm_90a; other targets get a stub, which spmm_tensor_supports knows
  extern __shared__ char memory[];
  const int cluster = p.splits;
  SpmmTensorBlock block;
  block.stages = (shared_address(memory) + 1023) & ~1023u;
  block.factors = block.stages + S::kStages * S::kStageBytes;
  block.full = block.factors + S::kFactorBytes;
  block.empty = block.full + 8 * S::kStages;
  block.rank = static_cast<int>(blockIdx.x) % cluster;
  block.first = static_cast<int>(blockIdx.x) / cluster;
  block.step = static_cast<int>(gridDim.x) / cluster;
  if (threadIdx.x == 2 * 128) {
    for (int stage = 0; stage < S::kStages; ++stage) {
      barrier_init(block.full + 8 * stage, 1);
      barrier_init(block.empty + 8 * stage, S::kTakeTurnsByK ? 4 : 8);  // consumer warps
    }
    barrier_init_fence();
    prefetch_map(a);
    if (p.b_is_ready) copy_b_early<S>(p, block, b);
  }
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  const bool together = p.splits > 1;  // a cluster of more than this block
  if (warpgroup < 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsumerRegisters));
    wait_for_previous();  // A is made dense so far
    SpmmTensorConsumer<S> consumer(p, block, warpgroup);
    consumer.run();
    if (together) {  // sums are there for others to read; others are done with this block's barriers
      cluster_arrive();
      cluster_wait();
    } else if (S::kGroupParts > 1) {
      bar_sync(3, 256);
    }
    if (S::kGroupParts * p.splits > 1) consumer.reduce();
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::kProducerRegisters));
    if (threadIdx.x == 2 * 128) spmm_tensor_produce<S>(p, block, a, b);
    if (together) {
      __syncwarp();
      cluster_arrive();
      cluster_wait();
      cluster_arrive();
    }
  }
  if (together) {  // others may still read this block's sums
    __syncwarp();
    cluster_wait();
  }
#else
  __trap();
#endif
}

}  // namespace lacuna::kernels
