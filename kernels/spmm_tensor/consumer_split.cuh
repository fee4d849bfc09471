// f32 by three products of f16: x = high + low, each 11 significant bits as TF32 has, at twice TF32's rate (Ootomo and
// Yokota, 2022, "Recovering single precision accuracy from Tensor Cores", halfhalf). What f16 lacks is range, so both
// operands are scaled by powers of two: A by row, when values are packed; B by column and stage, here, so that the
// largest of a column's 64 k lies in [2^14, 2^15). Numbers down to 2^-17 of that keep all their bits, smaller ones are
// rounded to 2^-40 of it.
//
// Every stage starts a fresh sum, which is unscaled and added to C's in f32: the tensor cores round their sums towards
// zero, so their chains are kept short. The small products come first, while their sum is small.
#pragma once

#include "kernels/spmm_tensor/consumer.cuh"

namespace lacuna::kernels {

template <class S>
class SpmmTensorSplitConsumer : SpmmTensorConsumerBase<S> {
  using Base = SpmmTensorConsumerBase<S>;
  using Base::kSteps;
  using typename Base::Sums;
  static_assert(Base::kHalves == 1);

 public:
  __device__ SpmmTensorSplitConsumer(const SpmmTensorArguments& arguments, const SpmmTensorShared& shared, int group)
      : Base(arguments, shared, group), group_(group) {}

  __device__ void run() {
#ifdef SPMM_TENSOR_PROFILE
    const long long begin = clock64();
#endif
    const int slabs = this->p_.slabs;
    if (S::kTurnAfter > 0 && group_ == 1) bar_arrive(1, 256);  // the first turn is group 0's
    for (int tile = blockIdx.x; tile < this->tiles(); tile += gridDim.x) {
      Sums sums = {};
      Split first, second;  // one is made while the products of the other run
      int left = slabs;
      if (left > 0) fetch(first);
      for (; left > 2; left -= 2) {
        multiply(sums[0], first, second, true);
        multiply(sums[0], second, first, true);
      }
      if (left > 0) multiply(sums[0], first, second, left > 1);
      if (left > 1) multiply(sums[0], second, first, false);
      this->store(sums, tile_at(this->p_, tile));
    }
    if (S::kTurnAfter > 0 && group_ == 0) bar_sync(1, 256);  // takes the last turn, so that none is left open
#ifdef SPMM_TENSOR_PROFILE
    if (blockIdx.x == 0 && threadIdx.x % 128 == 0) {
      long long* to = spmm_tensor_profile + 8 * (threadIdx.x / 128);
      to[0] = clock64() - begin, to[1] = waited_full_, to[2] = waited_products_, to[3] = converting_;
    }
#endif
  }

 private:
  struct Split {
    std::uint32_t high[kSteps][4], low[kSteps][4];
    float unscale[2];  // of the lane's two columns
  };

  /// Waits for the next slab and splits this lane's part of it.
  __device__ void fetch(Split& b) {
    const std::uint32_t slab = this->slab_at(read_);
    SPMM_TENSOR_TIMED(waited_full_, barrier_wait(this->shared_.full + 8 * read_, phase_));
#ifdef SPMM_TENSOR_PROFILE
    const long long begin = clock64();
#endif
    if (++read_ == S::kStages) read_ = 0, phase_ ^= 1;
    float x[kSteps][4][2];  // k = 2t, 2t + 1, 2t + 8, 2t + 9 of each step; two columns
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];"
                     : "=f"(x[step][i][0]), "=f"(x[step][i][1])
                     : "r"(slab + step * 2048 + i / 2 * 1024 + (i % 2 == 0 ? this->even_ : this->odd_)));
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
#ifdef SPMM_TENSOR_PROFILE
    converting_ += clock64() - begin;
#endif
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
    const std::uint64_t high = wgmma_descriptor(this->slab_at(stage_) + S::kSlabBytes);
    const std::uint64_t low = high + (S::kTileBytes >> 4);
    float part[64];
    if (S::kTurnAfter > 0) bar_sync(1 + group_, 256);
    wgmma_fence();
#pragma unroll
    for (int i = 0; i < 3 * kSteps; ++i) {
      const int step = i % kSteps;
      if (S::kTurnAfter == i && S::kTurnAfter > 0) hand_over();
      if (i / kSteps == 0) wgmma_f16(part, b.low[step], high + 2 * step, step > 0);
      if (i / kSteps == 1) wgmma_f16(part, b.high[step], low + 2 * step, 1);
      if (i / kSteps == 2) wgmma_f16(part, b.high[step], high + 2 * step, 1);
    }
    wgmma_commit();
    if (S::kTurnAfter == 3 * kSteps) hand_over();
    if (more) fetch(next);
    // Passed at once (this stage is full): a loop that keeps the compiler from waiting for the products before it splits.
    barrier_wait(this->shared_.full + 8 * stage_, stage_phase_);
    SPMM_TENSOR_TIMED(waited_products_, wgmma_wait<0>());
    this->release(stage_);
    if (++stage_ == S::kStages) stage_ = 0, stage_phase_ ^= 1;
#pragma unroll
    for (int i = 0; i < 64; ++i) sums[i] = fmaf(part[i], b.unscale[i / 2 % 2], sums[i]);
  }

  __device__ void hand_over() const { bar_arrive(2 - group_, 256); }

  const int group_;
  int stage_ = 0, read_ = 0;
  unsigned stage_phase_ = 0, phase_ = 0;
#ifdef SPMM_TENSOR_PROFILE
  long long waited_full_ = 0, waited_products_ = 0, converting_ = 0;
#endif
};

}  // namespace lacuna::kernels
