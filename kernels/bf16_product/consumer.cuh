// The warpgroups that multiply: each has 64 rows of C and all of a tile's 256 columns. A warp's sums leave by way of its
// own shared memory and the copy engine, 64 columns at a time. Device code only.
#pragma once

#include "kernels/bf16_product/shape.cuh"
#include "kernels/common/wgmma_bf16_n256.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/spmm_tensor/pipeline.cuh"

namespace lacuna::kernels {

template <class S>
class Bf16ProductConsumer {
 public:
  __device__ Bf16ProductConsumer(const Bf16ProductArguments& arguments, const CUtensorMap& c_map,
                                 const Bf16ProductBlock& block, int group)
      : p_(arguments), c_map_(c_map), block_(block), group_(group) {
    const int peer = lane() % S::kCluster;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(empty_) : "r"(block.empty), "r"(peer));
    row_ = group * 64 + threadIdx.x / 32 % 4 * 16 + lane() / 4;
  }

  __device__ void run() {
    float sums[128];
    for (int index = block_.first; index < block_.tiles; index += block_.step) {
      const Bf16ProductTile tile = bf16_product_tile<S>(p_, block_, index);
      float bias[2] = {};
      const int m = tile.row + row_;
      if (p_.bias) {
        if (m < p_.m) bias[0] = __ldg(p_.bias + m);
        if (m + 8 < p_.m) bias[1] = __ldg(p_.bias + m + 8);
      }
      for (int slab = 0; slab < p_.slabs; ++slab) multiply(sums, slab);
      wgmma::wait<0>();
      wgmma::pin(sums);
      release(previous_);
#pragma unroll
      for (int part = 0; part < 4; ++part) send(sums, part, tile, bias);
    }
    if (lane() == 0) asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }

 private:
  static __device__ int lane() { return threadIdx.x % 32; }

  /// sums = or += A's slab times B's. The slab before is let go as soon as its products are done.
  __device__ void multiply(float (&sums)[128], int slab) {
    constexpr bool kRows = S::kOf == Bf16ProductRows::rows;
    constexpr wgmma::Major kMajor = kRows ? wgmma::Major::k : wgmma::Major::mn;
    barrier_wait(block_.full + 8 * stage_, phase_);
    const std::uint32_t stage = block_.stages + stage_ * S::kStageBytes, a_at = stage + group_ * S::kBoxBytes;
    const std::uint64_t a = kRows ? wgmma::descriptor(a_at) : wgmma::descriptor_mn(a_at, S::kBoxBytes);
    const std::uint64_t b = wgmma::descriptor_mn(stage + S::kABytes, S::kBoxBytes);
    wgmma::pin(sums);
    wgmma::fence();
#pragma unroll
    for (int step = 0; step < 4; ++step)
      wgmma::bf16_n256<kMajor, wgmma::Major::mn>(sums, a + step * (kRows ? 2 : 128), b + step * 128,
                                                 slab > 0 || step > 0);
    wgmma::commit();
    wgmma::pin(sums);
    wgmma::wait<1>();
    if (slab > 0) release(previous_);
    previous_ = stage_;
    if (++stage_ == S::kStages) stage_ = 0, phase_ ^= 1;
  }

  /// In both blocks, since either copies to both. Not `.release.cluster`: that waits for all the warp has under way, a
  /// microsecond a slab, and nothing that was read here is written by threads.
  __device__ void release(int stage) const {
    if (lane() < S::kCluster)
      asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(empty_ + 8 * stage) : "memory");
  }

  __device__ std::uint32_t pack(float x, float y, float bias) const {
    x += bias, y += bias;
    if (p_.relu) x = relu(x), y = relu(y);
    std::uint32_t both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(y), "f"(x));
    return both;
  }

  /// A warp's 16 rows of a quarter of the tile's columns.
  __device__ void send(const float (&sums)[128], int part, const Bf16ProductTile& tile, const float (&bias)[2]) const {
    const int warp = threadIdx.x / 32 - 4, row = lane() % 16;
    const std::uint32_t buffer = block_.buffers + warp * S::kBufferBytes;
    if (lane() == 0) asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");  // the last quarter has been read
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 4;
         ++j) {  // 16 columns: lanes 0 to 15 name the rows of the first eight, the others of the second
      std::uint32_t packed[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int at = part * 32 + j * 8 + i * 2;
        packed[i] = pack(sums[at], sums[at + 1], bias[i % 2]);
      }
      const std::uint32_t to = buffer + row * 128 + ((2 * j + lane() / 16) ^ (row & 7)) * 16;
      asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(packed[0]),
                   "r"(packed[1]), "r"(packed[2]), "r"(packed[3])
                   : "memory");
    }
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    __syncwarp();
    if (lane() > 0) return;
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(
                     reinterpret_cast<std::uint64_t>(&c_map_)),
                 "r"(tile.col + part * 64), "r"(tile.row + group_ * 64 + warp % 4 * 16), "r"(buffer)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
  }

  const Bf16ProductArguments& p_;
  const CUtensorMap& c_map_;
  const Bf16ProductBlock& block_;
  const int group_;
  int row_;  // of this lane in the tile; and eight on
  std::uint32_t empty_;
  int stage_ = 0, previous_ = 0;
  unsigned phase_ = 0;
};

}  // namespace lacuna::kernels
