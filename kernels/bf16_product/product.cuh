// C = A B or A^T B in bf16, of an A that becomes dense on the way. Persistent blocks, in clusters of two, take tiles of
// 128 x 256 in turn; one thread copies slabs, two warpgroups multiply, three warps make A dense. Device code only.
#pragma once

#include "kernels/bf16_product/consumer.cuh"
#include "kernels/bf16_product/densify.cuh"
#include "kernels/common/dependent_launch.cuh"

namespace lacuna::kernels {

/// A box to both blocks of the cluster, at the same place in each, counted by the barriers of both.
__device__ __forceinline__ void copy_box_to_both(std::uint32_t to, const CUtensorMap& map, int column, int row,
                                                 std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(reinterpret_cast<std::uint64_t>(&map)), "r"(column), "r"(row), "r"(barrier), "h"(std::uint16_t{3})
      : "memory");
}

/// Waits until a chunk's batches have all been written, and lets the copy engine see it. One that outlasts a minute is a
/// fault of the kernel: it traps.
__device__ __forceinline__ void wait_for_chunk(const unsigned* flag, unsigned batches) {
  unsigned there;
  long long start = 0;
  for (int tries = 0;; ++tries) {
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(there) : "l"(flag) : "memory");
    if (there >= batches) break;
    if (tries == 16) start = clock64();
    if (tries > 16 && clock64() - start > 100'000'000'000ll) __trap();
  }
  asm volatile("fence.proxy.async.global;" ::: "memory");
}

/// One thread. Each block copies its own rows of A, and half of B's columns to both.
template <class S>
__device__ __forceinline__ void load_slabs(const CUtensorMap& a_map, const CUtensorMap& b_map,
                                           const Bf16ProductArguments& p, const Bf16ProductBlock& block) {
  int stage = 0;
  unsigned phase = 1;
  for (int index = block.first; index < block.tiles; index += block.step) {
    const Bf16ProductTile tile = bf16_product_tile<S>(p, block, index);
    for (int slab = 0; slab < p.slabs; ++slab) {
      const int k = slab * S::kSlab;
      if (k % S::kChunk == 0)
        wait_for_chunk(p.flags + tile.panel * p.chunks + k / S::kChunk, Bf16ProductWalk<S>::kBatches);
      barrier_wait(block.empty + 8 * stage, phase);
      const std::uint32_t full = block.full + 8 * stage, a = block.stages + stage * S::kStageBytes, b = a + S::kABytes;
      barrier_arrive_expect(full, S::kStageBytes);
      if constexpr (S::kOf == Bf16ProductRows::rows) {
        copy_box(a, a_map, k, tile.row, full);
      } else {
        copy_box(a, a_map, tile.row, k, full);
        copy_box(a + S::kBoxBytes, a_map, tile.row + 64, k, full);
      }
      for (int i = block.rank * 2; i < block.rank * 2 + 2; ++i)
        copy_box_to_both(b + i * S::kBoxBytes, b_map, tile.col + i * 64, k, full);
      if (++stage == S::kStages) stage = 0, phase ^= 1;
    }
  }
}

/// The last block leaves the flags as it found them: zero. One warp, when its block waits for none any more.
__device__ __forceinline__ void reset_flags(const Bf16ProductArguments& p) {
  const int count = p.panels * p.chunks, lane = threadIdx.x % 32;
  unsigned before = 0;
  if (lane == 0)
    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], 1;" : "=r"(before) : "l"(p.flags + count) : "memory");
  if (__shfl_sync(0xffffffffu, before, 0) != gridDim.x - 1) return;
  for (int i = lane; i <= count; i += 32) p.flags[i] = 0;
}

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

template <class S>
__device__ __forceinline__ Bf16ProductBlock bf16_product_block(const Bf16ProductArguments& p, std::uint32_t shared) {
  Bf16ProductBlock block;
  block.stages = (shared + 1023) & ~1023u;
  block.buffers = block.stages + S::kStages * S::kStageBytes;
  block.side = block.buffers + 8 * S::kBufferBytes;
  block.full = block.side + S::kSideBytes;
  block.empty = block.full + 8 * S::kStages;
  block.rank = static_cast<int>(blockIdx.x) % S::kCluster;
  block.first = static_cast<int>(blockIdx.x) / S::kCluster;
  block.step = static_cast<int>(gridDim.x) / S::kCluster;
  block.tiles = p.panels * p.col_tiles;
  if (threadIdx.x == 0) {
    for (int i = 0; i < S::kStages; ++i) {
      barrier_init(block.full + 8 * i, 1);
      barrier_init(block.empty + 8 * i, 8 * S::kCluster);
    }
    barrier_init_fence();
  }
  return block;
}

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    bf16_product_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                        const __grid_constant__ CUtensorMap c_map, const __grid_constant__ Bf16ProductArguments p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ std::uint8_t raw_shared[];
  const Bf16ProductBlock block = bf16_product_block<S>(p, shared_address(raw_shared));
  cluster_sync();
  wait_for_previous();
  const int warpgroup = threadIdx.x / 128, warp = threadIdx.x / 32;
  if (warpgroup == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::kProducerRegisters));
    if (warp == 0) {
      if (threadIdx.x == 0) load_slabs<S>(a_map, b_map, p, block);
      __syncwarp();
    } else {
      const int id = static_cast<int>(blockIdx.x) * S::kSideWarps + warp - 1;
      Bf16ProductWriter<S>(p, block.side + (warp - 1) * S::kImageBytes).run(id, gridDim.x * S::kSideWarps);
    }
    bar_sync(1, 128);
    if (warp == 0) reset_flags(p);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsumerRegisters));
    Bf16ProductConsumer<S>(p, c_map, block, warpgroup - 1).run();
  }
  cluster_sync();  // the other block may still copy to this one, or arrive at its barriers
#else
  __trap();
#endif
}

}  // namespace lacuna::kernels
