// The consumer warpgroups of the tensor-core SpMM: C^T = B^T A^T, each 64 columns of C by all the block's rows.
//
// B^T is the register operand, because TF32 knows K-major operands in shared memory only and B is not; A's tile is the
// shared one. 3xTF32 starts a fresh sum with every stage and adds it to C's in f32, since the tensor cores round their
// sums towards zero; the small products come first, while their sum is small.
#pragma once

#include "kernels/pointwise/activation.h"
#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"
#include "kernels/spmm_tensor/wgmma.cuh"

namespace lacuna::kernels {

template <class S>
class SpmmTensorConsumer {
 public:
  static constexpr int kSums = S::kRows / 2;
  static constexpr int kSteps = 4;  // products along k in a stage: 32 bytes of k each

  __device__ SpmmTensorConsumer(const SpmmTensorArguments& arguments, std::uint32_t stages, std::uint32_t full,
                                std::uint32_t empty, int group)
      : p_(arguments), stages_(stages), full_(full), empty_(empty), group_(group) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    g_ = lane / 4;
    t_ = lane % 4;
    column_ = group * 64 + warp * 16 + 2 * g_;  // of the block's; this lane has it and the next
    even_ = spmm_tensor_layout::slab_byte(2 * t_, column_, S::kElement);
    odd_ = spmm_tensor_layout::slab_byte(2 * t_ + 1, column_, S::kElement);
  }

  __device__ void run() {
    const int tiles = p_.m_tiles * p_.n_tiles;
    if (S::kTurns && group_ == 1) bar_arrive(1, 256);  // the first turn is group 0's
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      float sums[kSums];
#pragma unroll
      for (int i = 0; i < kSums; ++i) sums[i] = 0.0f;
      const bool last_tile = tile + static_cast<int>(gridDim.x) >= tiles;
      if constexpr (S::kSplit) {
        for (int slab = 0; slab < p_.slabs; ++slab) split_stage(sums, last_tile && slab + 1 == p_.slabs);
      } else {
        std::uint32_t first[kSteps][4], second[kSteps][4];  // one is loaded while the products of the other run
        int slab = 0;
        for (; slab + 1 < p_.slabs; slab += 2) {
          plain_stage(sums, first, slab > 0);
          plain_stage(sums, second, true);
        }
        if (slab < p_.slabs) plain_stage(sums, first, slab > 0);
        wgmma_wait<0>();
        if (p_.slabs > 0) release(previous_stage_);
      }
      store(sums, tile_at(p_, tile));
    }
  }

 private:
  __device__ void next_stage() {
    if (++stage_ == S::kStages) stage_ = 0, phase_ ^= 1;
  }
  __device__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) barrier_arrive(empty_ + 8 * stage);
  }

  /// B^T's raw registers of this stage for all steps.
  __device__ void load(std::uint32_t slab, std::uint32_t (&raw)[kSteps][4]) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if constexpr (S::kElement == 4) {
        const std::uint32_t at = slab + step * 1024;
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(raw[step][0]), "=r"(raw[step][1]) : "r"(at + even_));
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(raw[step][2]), "=r"(raw[step][3]) : "r"(at + odd_));
      } else {
        const std::uint32_t at = slab + step * 2048;
        std::uint32_t x[4];  // pairs of columns at k = 2t, 2t + 1, 2t + 8, 2t + 9
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[0]) : "r"(at + even_));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[1]) : "r"(at + odd_));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[2]) : "r"(at + even_ + 1024));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[3]) : "r"(at + odd_ + 1024));
        raw[step][0] = __byte_perm(x[0], x[1], 0x5410);
        raw[step][1] = __byte_perm(x[0], x[1], 0x7632);
        raw[step][2] = __byte_perm(x[2], x[3], 0x5410);
        raw[step][3] = __byte_perm(x[2], x[3], 0x7632);
      }
    }
  }

  static __device__ std::uint32_t to_tf32(std::uint32_t x) {
    std::uint32_t y;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
    return y;
  }

  __device__ void plain_stage(float (&sums)[kSums], std::uint32_t (&b)[kSteps][4], bool release_previous) {
    const std::uint32_t slab = stages_ + stage_ * S::kStageBytes;
    barrier_wait(full_ + 8 * stage_, phase_);
    load(slab, b);
    if constexpr (S::kMath == SpmmTensorMath::tf32) {
#pragma unroll
      for (int i = 0; i < kSteps * 4; ++i) b[i / 4][i % 4] = to_tf32(b[i / 4][i % 4]);
    }
    const std::uint64_t tile = wgmma_descriptor(slab + S::kSlabBytes);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if constexpr (S::kElement == 4)
        wgmma_tf32(sums, b[step], tile + 2 * step, 1);
      else
        wgmma_bf16(sums, b[step], tile + 2 * step, 1);
    }
    wgmma_commit();
    wgmma_wait<1>();  // the previous stage's products are done
    if (release_previous) release(previous_stage_);
    previous_stage_ = stage_;
    next_stage();
  }

  __device__ void split_stage(float (&sums)[kSums], bool last) {
    const std::uint32_t slab = stages_ + stage_ * S::kStageBytes;
    std::uint32_t high[kSteps][4], low[kSteps][4];
    barrier_wait(full_ + 8 * stage_, phase_);
    load(slab, low);
#pragma unroll
    for (int i = 0; i < kSteps * 4; ++i) {
      std::uint32_t& x = low[i / 4][i % 4];
      high[i / 4][i % 4] = to_tf32(x);
      x = __float_as_uint(__uint_as_float(x) - __uint_as_float(high[i / 4][i % 4]));
    }
    const std::uint64_t tile_high = wgmma_descriptor(slab + S::kSlabBytes);
    const std::uint64_t tile_low = wgmma_descriptor(slab + S::kSlabBytes + S::kTileBytes);
    float part[kSums];
    // Groups take turns: one adds up and loads while the other's products run.
    if (S::kTurns) bar_sync(1 + group_, 256);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) wgmma_tf32(part, low[step], tile_high + 2 * step, step > 0);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) wgmma_tf32(part, high[step], tile_low + 2 * step, 1);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) wgmma_tf32(part, high[step], tile_high + 2 * step, 1);
    wgmma_commit();
    if (S::kTurns && !(last && group_ == 1)) bar_arrive(2 - group_, 256);  // after the very last, nobody waits
    wgmma_wait<0>();
    release(stage_);
    next_stage();
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] += part[i];
  }

  __device__ void store(const float (&sums)[kSums], TileAt at) const {
    const int n = at.n * spmm_tensor_layout::kTileN + column_;
    if (n >= p_.n) return;
    const bool pair = p_.pairs && n + 1 < p_.n;
#pragma unroll
    for (int j = 0; j < kSums / 4; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int m = at.m * S::kRows + 8 * j + 2 * t_ + i;
        if (m >= p_.m) continue;
        float x = sums[4 * j + i], y = sums[4 * j + i + 2];
        if (p_.bias) {
          const float bias = __ldg(p_.bias + m);
          x += bias, y += bias;
        }
        x = activate(p_.activation, x), y = activate(p_.activation, y);
        const std::int64_t to = m * p_.c_ld + n;
        if constexpr (S::kElement == 4) {
          float* c = static_cast<float*>(p_.c) + to;
          if (pair) {
            *reinterpret_cast<float2*>(c) = make_float2(x, y);
          } else {
            c[0] = x;
            if (n + 1 < p_.n) c[1] = y;
          }
        } else {
          Bf16* c = static_cast<Bf16*>(p_.c) + to;
          const Bf16 first = to_bf16(x), second = to_bf16(y);
          if (pair) {
            *reinterpret_cast<std::uint32_t*>(c) = first.bits | std::uint32_t{second.bits} << 16;
          } else {
            c[0] = first;
            if (n + 1 < p_.n) c[1] = second;
          }
        }
      }
    }
  }

  const SpmmTensorArguments& p_;
  const std::uint32_t stages_, full_, empty_;
  const int group_;
  int g_, t_, column_;
  std::uint32_t even_, odd_;
  int stage_ = 0, previous_stage_ = 0;
  unsigned phase_ = 0;
};

}  // namespace lacuna::kernels
