// The consumer warpgroups of the tensor-core SpMM: C^T = B^T A^T, each 64 columns of C by the block's 128 rows. B^T is
// the register operand, because it has to be scaled and split on the way; A's tile is the shared one.
//
// x = high + low in f16. What f16 lacks is range, so B is scaled by column and stage, such that the largest of a
// column's 64 k lies in [2^14, 2^15), as A's rows are when values are packed.
//
// Every stage starts a fresh sum, which is unscaled and added to C's in f32: the tensor cores round their sums towards
// zero, so their chains are kept short. The small products come first, while their sum is small.
#pragma once

#include "kernels/common/wgmma.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"

namespace lacuna::kernels {

template <class S>
class SpmmTensorConsumer {
 public:
  __device__ SpmmTensorConsumer(const SpmmTensorArguments& arguments, const SpmmTensorShared& shared, int group)
      : p_(arguments), shared_(shared), group_(group) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    t_ = lane % 4;
    column_ = group * 64 + warp * 16 + spmm_tensor_layout::column_of_row(lane / 4);
    even_ = spmm_tensor_layout::slab_byte(2 * t_, column_);
    odd_ = spmm_tensor_layout::slab_byte(2 * t_ + 1, column_);
  }

  __device__ void run() {
    const int slabs = p_.slabs;
    if (S::kTurnAfter > 0 && group_ == 1) bar_arrive(1, 256);  // the first turn is group 0's
    for (int tile = blockIdx.x; tile < p_.m_tiles * p_.n_tiles; tile += gridDim.x) {
      float sums[64] = {};
      Split first, second;  // one is made while the products of the other run
      int left = slabs;
      if (left > 0) fetch(first);
      for (; left > 2; left -= 2) {
        multiply(sums, first, second, true);
        multiply(sums, second, first, true);
      }
      if (left > 0) multiply(sums, first, second, left > 1);
      if (left > 1) multiply(sums, second, first, false);
      store(sums, tile_at(p_, tile));
    }
    if (S::kTurnAfter > 0 && group_ == 0) bar_sync(1, 256);  // takes the last turn, so that none is left open
  }

 private:
  static constexpr int kSteps = 4;  // products along k in a stage: 16 k each

  struct Split {
    std::uint32_t high[kSteps][4], low[kSteps][4];
    float unscale[2];  // of the lane's two columns
  };

  __device__ std::uint32_t slab_at(int stage) const { return shared_.stages + stage * S::kStageBytes; }
  __device__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_.empty + 8 * stage);
  }

  __device__ void hand_over() const { bar_arrive(2 - group_, 256); }

  /// Waits for the next slab and splits this lane's part of it.
  __device__ void fetch(Split& b) {
    const std::uint32_t slab = slab_at(read_);
    barrier_wait(shared_.full + 8 * read_, phase_);
    if (++read_ == S::kStages) read_ = 0, phase_ ^= 1;
    float x[kSteps][4][2];  // k = 2t, 2t + 1, 2t + 8, 2t + 9 of each step; two columns
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                     : "=f"(x[step][i][0]), "=f"(x[step][i][1])
                     : "r"(slab + step * 2048 + i / 2 * 1024 + (i % 2 == 0 ? even_ : odd_)));
      }
    }
    float scale[2];
#pragma unroll
    for (int column = 0; column < 2; ++column) {
      float most = 0;
#pragma unroll
      for (int i = 0; i < 4 * kSteps; ++i) most = fmaxf(most, fabsf(x[i / 4][i % 4][column]));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, 2));
      // The exponents of the scale and its inverse must exist: columns below 2^-97 stay small.
      const unsigned exponent = max(__float_as_uint(most) >> 23, 30u);
      scale[column] = __uint_as_float((268 - exponent) << 23);
      b.unscale[column] = __uint_as_float((exponent - 28) << 23);  // and 2^-14 for A's rows, which are scaled alike
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {  // registers of the operand: k pairs 0, 0, 1, 1; columns 0, 1, 0, 1
        const float even = x[step][i / 2 * 2][i % 2] * scale[i % 2], odd = x[step][i / 2 * 2 + 1][i % 2] * scale[i % 2];
        const std::uint32_t high = pack(even, odd);
        b.high[step][i] = high;
        b.low[step][i] = pack(even - unpack(high & 0xffff), odd - unpack(high >> 16));
      }
    }
  }

  static __device__ std::uint32_t pack(float low, float high) {
    std::uint32_t both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
  }
  static __device__ float unpack(std::uint32_t half) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(static_cast<std::uint16_t>(half)));
    return x;
  }

  /// sums += A's tile times b, while `next` is fetched.
  __device__ void multiply(float (&sums)[64], const Split& b, Split& next, bool more) {
    const std::uint64_t high = wgmma::descriptor(slab_at(stage_) + S::kSlabBytes);
    const std::uint64_t low = high + (S::kTileBytes >> 4);
    float part[64];
    if (S::kTurnAfter > 0) bar_sync(1 + group_, 256);
    wgmma::fence();
#pragma unroll
    for (int i = 0; i < 3 * kSteps; ++i) {
      const int step = i % kSteps;
      if (S::kTurnAfter > 0 && S::kTurnAfter == i) hand_over();
      if (i / kSteps == 0) wgmma::f16(part, b.low[step], high + 2 * step, step > 0);
      if (i / kSteps == 1) wgmma::f16(part, b.high[step], low + 2 * step, 1);
      if (i / kSteps == 2) wgmma::f16(part, b.high[step], high + 2 * step, 1);
    }
    wgmma::commit();
    if (S::kTurnAfter == 3 * kSteps) hand_over();
    if (more) fetch(next);
    // Passed at once (this stage is full): a loop that keeps the compiler from waiting for the products before it
    // splits.
    barrier_wait(shared_.full + 8 * stage_, stage_phase_);
    wgmma::wait<0>();
    release(stage_);
    if (++stage_ == S::kStages) stage_ = 0, stage_phase_ ^= 1;
#pragma unroll
    for (int i = 0; i < 64; ++i) sums[i] = fmaf(part[i], b.unscale[i / 2 % 2], sums[i]);
  }

  __device__ void store(const float (&sums)[64], TileAt at) const {
    const int n = at.n * spmm_tensor_layout::kTileN + column_;
    if (n >= p_.n) return;
    const bool pair = p_.pairs && n + 1 < p_.n;
#pragma unroll
    for (int j = 0; j < 16; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int m = at.m * S::kRows + 8 * j + 2 * t_ + i;
        if (m >= p_.m) continue;
        const float factor = __ldg(p_.row_factors + m);
        float x = sums[4 * j + i] * factor, y = sums[4 * j + i + 2] * factor;
        if (p_.bias) {
          const float bias = __ldg(p_.bias + m);
          x += bias, y += bias;
        }
        x = activate(p_.activation, x), y = activate(p_.activation, y);
        float* c = static_cast<float*>(p_.c) + (m * p_.c_ld + n);
        if (pair) {
          *reinterpret_cast<float2*>(c) = make_float2(x, y);
        } else {
          c[0] = x;
          if (n + 1 < p_.n) c[1] = y;
        }
      }
    }
  }

  const SpmmTensorArguments& p_;
  const SpmmTensorShared& shared_;
  const int group_;
  int t_, column_;            // this lane has this column of the block and the next
  std::uint32_t even_, odd_;  // bytes in a slab of its columns at k = 2t and 2t + 1
  int stage_ = 0, read_ = 0;
  unsigned stage_phase_ = 0, phase_ = 0;
};

}  // namespace lacuna::kernels
