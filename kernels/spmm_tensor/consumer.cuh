// The consumer warpgroups of spmm_tensor: C^T = B^T A^T. B^T is the register operand, because it has to be scaled and
// split on the way; A's tiles, split before, are the shared one.
//
// x = high + low in f16. What f16 lacks is range, so B is scaled by column and slab, such that the largest of a column's
// 64 k lies in [2^14, 2^15), as A's rows are.
//
// Every slab starts a fresh sum, which is unscaled and added to C's in f32: the tensor cores round their sums towards
// zero, so their chains are kept short. The small products come first, while their sum is small.
#pragma once

#include "kernels/common/wgmma.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"

namespace lacuna::kernels {

/// The address, in the shared memory of the cluster's block `rank`, of what lies at `address` in this one's.
__device__ __forceinline__ std::uint32_t in_block(std::uint32_t address, int rank) {
  std::uint32_t there;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
  return there;
}

__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

template <class S>
class SpmmTensorConsumer {
 public:
  __device__ SpmmTensorConsumer(const SpmmTensorArguments& arguments, const SpmmTensorBlock& block, int group)
      : p_(arguments), block_(block), group_(group) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    t_ = lane % 4;
    column_ = (S::kTakeTurnsByK ? 0 : group * 64) + warp * 16 + spmm_tensor_layout::column_of_row(lane / 4);
    even_ = spmm_tensor_layout::slab_byte(2 * t_, column_);
    odd_ = spmm_tensor_layout::slab_byte(2 * t_ + 1, column_);
    stage_ = read_ = S::kTakeTurnsByK ? group : 0;
  }

  __device__ void run() {
    for (int index = block_.first; index < p_.m_tiles * p_.n_tiles; index += block_.step) {
      const SpmmTensorTile tile = tile_at<S>(p_, block_, index);
      const int row = threadIdx.x % 128, m = tile.m + row;
      float factor = 0, bias = 0;  // of one row; they go to shared memory when all products are done
      if (row < S::kRows && m < p_.m) {
        factor = __ldg(p_.row_factors + m);
        if (p_.bias) bias = __ldg(p_.bias + m);
      }
      float sums[kSums] = {};
      Split first, second;  // one is made while the products of the other run
      const int slabs = tile.end - tile.begin;
      int left = S::kTakeTurnsByK ? (slabs + 1 - group_) / 2 : slabs;
      if (left > 0) fetch(first);
      for (; left > 0; left -= 2) {
        multiply(sums, first, second, left > 1);
        if (left == 1) break;
        multiply(sums, second, first, left > 2);
      }
      const bool alone = S::kGroupParts * p_.splits == 1;
      if (alone)
        bar_sync(4 + group_, 128);  // the last tile's factors have been read
      else
        bar_sync(3, 256);  // both groups are done with the stages
      if (row < S::kRows && (alone || group_ == 0)) put_factor(row, factor, bias);
      if (alone) {
        bar_sync(4 + group_, 128);
        store(sums, tile);
      } else {
        leave(sums);
      }
    }
  }

  /// Adds all blocks' and groups' sums of this block's share of the tile, in the order of blocks and groups. In a cluster
  /// every thread arrives at the barrier; the caller waits.
  __device__ void reduce() const {
    switch (p_.splits) {
      case 1:
        return reduce_parts<1>();
      case 2:
        return reduce_parts<2>();
      case 3:
        return reduce_parts<3>();
      case 4:
        return reduce_parts<4>();
      case 5:
        return reduce_parts<5>();
      case 6:
        return reduce_parts<6>();
      case 7:
        return reduce_parts<7>();
      default:
        return reduce_parts<8>();
    }
  }

 private:
  static constexpr int kSteps = 4;  // products along k in a slab: 16 k each
  static constexpr int kSums = S::kRows / 2;

  struct Split {
    std::uint32_t high[kSteps][4], low[kSteps][4];
    float unscale[2];  // of the lane's two columns
  };

  __device__ std::uint32_t slab_at(int stage) const { return block_.stages + stage * S::kStageBytes; }
  __device__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) barrier_arrive(block_.empty + 8 * stage);
  }
  static __device__ void advance(int& stage, unsigned& phase) {
    stage += S::kTakeTurnsByK ? 2 : 1;
    if (stage >= S::kStages) stage -= S::kStages, phase ^= 1;
  }

  /// Waits for the next slab and splits this lane's part of it.
  __device__ void fetch(Split& b) {
    const std::uint32_t slab = slab_at(read_);
    barrier_wait(block_.full + 8 * read_, phase_);
    advance(read_, phase_);
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
  __device__ void multiply(float (&sums)[kSums], const Split& b, Split& next, bool more) {
    const std::uint64_t high = wgmma::descriptor(slab_at(stage_) + S::kSlabBytes);
    const std::uint64_t low = high + (S::kTileBytes >> 4);
    float part[kSums];
    wgmma::fence();
#pragma unroll
    for (int i = 0; i < 3 * kSteps; ++i) {
      const int step = i % kSteps;
      if (i / kSteps == 0) wgmma::f16(part, b.low[step], high + 2 * step, step > 0);
      if (i / kSteps == 1) wgmma::f16(part, b.high[step], low + 2 * step, 1);
      if (i / kSteps == 2) wgmma::f16(part, b.high[step], high + 2 * step, 1);
    }
    wgmma::commit();
    if (more) fetch(next);
    // Passed at once (this stage is full): a loop that keeps the compiler from waiting for the products before it
    // splits.
    barrier_wait(block_.full + 8 * stage_, stage_phase_);
    wgmma::wait<0>();
    release(stage_);
    advance(stage_, stage_phase_);
#pragma unroll
    for (int i = 0; i < kSums; ++i) sums[i] = fmaf(part[i], b.unscale[i / 2 % 2], sums[i]);
  }

  /// Row factors, then biases; a group that stores by itself has its own.
  __device__ std::uint32_t factor_at(int row) const {
    const int group = S::kGroupParts * p_.splits == 1 ? group_ : 0;
    return block_.factors + (group * 256 + row) * static_cast<int>(sizeof(float));
  }
  __device__ void put_factor(int row, float factor, float bias) const {
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(factor_at(row)), "f"(factor) : "memory");
    asm volatile("st.shared.f32 [%0], %1;" ::"r"(factor_at(row + 128)), "f"(bias) : "memory");
  }
  /// All but gelu, which follows once for all: written out for every element it would not fit the instruction cache.
  __device__ float finish(float x, float factor, float bias) const {
    x = fmaf(x, factor, bias);  // the factor is a power of two
    return p_.activation == Activation::relu ? relu(x) : x;
  }
  __device__ void finish_gelu(float* c, int count) const {
#pragma unroll 1
    for (int i = 0; i < count; ++i) c[i] = gelu(c[i]);
  }

  __device__ void store(const float (&sums)[kSums], const SpmmTensorTile& tile) const {
    const int n = tile.n + column_;
    if (n >= p_.n) return;
    const bool pair = p_.pairs && n + 1 < p_.n;
#pragma unroll
    for (int j = 0; j < S::kRows / 8; ++j) {
      float factor[2], bias[2];
      const std::uint32_t at = factor_at(8 * j + 2 * t_);
      asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(factor[0]), "=f"(factor[1]) : "r"(at) : "memory");
      asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(bias[0]), "=f"(bias[1]) : "r"(at + 512) : "memory");
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int m = tile.m + 8 * j + 2 * t_ + i;
        const float x = finish(sums[4 * j + i], factor[i], bias[i]);
        const float y = finish(sums[4 * j + i + 2], factor[i], bias[i]);
        if (m >= p_.m) continue;
        float* c = p_.c + (m * p_.c_ld + n);
        if (pair) {
          *reinterpret_cast<float2*>(c) = make_float2(x, y);
        } else {
          c[0] = x;
          if (n + 1 < p_.n) c[1] = y;
        }
      }
    }
    if (p_.activation != Activation::gelu) return;
#pragma unroll 1
    for (int i = 0; i < S::kRows / 4; ++i) {
      const int m = tile.m + i / 2 * 8 + 2 * t_ + i % 2;
      if (m < p_.m) finish_gelu(p_.c + (m * p_.c_ld + n), min(2, p_.n - n));
    }
  }

  /// Puts the sums where the stages were.
  __device__ void leave(const float (&sums)[kSums]) const {
    const std::uint32_t to = block_.stages + (S::kTakeTurnsByK ? group_ * S::kPartBytes : 0);
#pragma unroll
    for (int j = 0; j < S::kRows / 8; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = 8 * j + 2 * t_ + i;
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(to + (row * S::kPartLd + column_) *
                                                                       static_cast<int>(sizeof(float))),
                     "f"(sums[4 * j + i]), "f"(sums[4 * j + i + 2])
                     : "memory");
      }
    }
  }

  /// A warp reads rows of the sums, a lane four columns, all before the first are added.
  template <int kSplits>
  __device__ void reduce_parts() const {
    constexpr int kParts = kSplits * S::kGroupParts, kLanes = S::kCols / 4, kStep = 256 / kLanes;
    constexpr int kMost = ((S::kRows + kSplits - 1) / kSplits + kStep - 1) / kStep;  // rows a lane
    const SpmmTensorTile tile = tile_at<S>(p_, block_, block_.first);
    const int end = min((block_.rank + 1) * S::kRows / kSplits, p_.m - tile.m);
    const int column = static_cast<int>(threadIdx.x) % kLanes * 4, n = tile.n + column;
    const int first = block_.rank * S::kRows / kSplits + static_cast<int>(threadIdx.x) / kLanes;
    float4 x[kMost][kParts];
    float factor[kMost], bias[kMost];
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const int from = min(first + i * kStep, S::kRows - 1);
      const std::uint32_t at = block_.stages + (from * S::kPartLd + column) * static_cast<int>(sizeof(float));
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const std::uint32_t here = at + part % S::kGroupParts * S::kPartBytes;
        float4& to = x[i][part];
        if constexpr (kSplits == 1) {
          asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                       : "=f"(to.x), "=f"(to.y), "=f"(to.z), "=f"(to.w)
                       : "r"(here)
                       : "memory");
        } else {
          asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                       : "=f"(to.x), "=f"(to.y), "=f"(to.z), "=f"(to.w)
                       : "r"(in_block(here, part / S::kGroupParts))
                       : "memory");
        }
      }
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(factor[i]) : "r"(factor_at(from)) : "memory");
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(bias[i]) : "r"(factor_at(from + 128)) : "memory");
    }
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
#pragma unroll
      for (int part = 1; part < kParts; ++part) {
        const float4 y = x[i][part];
        x[i][0].x += y.x, x[i][0].y += y.y, x[i][0].z += y.z, x[i][0].w += y.w;
      }
    }
    if constexpr (kSplits > 1) {
      __syncwarp();
      cluster_arrive();  // has read the others' sums
    }
    if (n >= p_.n) return;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      const float4 sum = x[i][0];
      const float out[4] = {finish(sum.x, factor[i], bias[i]), finish(sum.y, factor[i], bias[i]),
                            finish(sum.z, factor[i], bias[i]), finish(sum.w, factor[i], bias[i])};
      if (first + i * kStep >= end) break;
      float* c = p_.c + ((tile.m + first + i * kStep) * p_.c_ld + n);
      if (p_.quads && n + 3 < p_.n) {
        *reinterpret_cast<float4*>(c) = make_float4(out[0], out[1], out[2], out[3]);
      } else {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (n + j < p_.n) c[j] = out[j];
        }
      }
    }
    if (p_.activation != Activation::gelu) return;
#pragma unroll 1
    for (int row = first; row < end; row += kStep) finish_gelu(p_.c + ((tile.m + row) * p_.c_ld + n), min(4, p_.n - n));
  }

  const SpmmTensorArguments& p_;
  const SpmmTensorBlock& block_;
  const int group_;
  int t_, column_;            // this lane has this column of the block and the next
  std::uint32_t even_, odd_;  // bytes in a slab of its columns at k = 2t and 2t + 1
  int stage_, read_;
  unsigned stage_phase_ = 0, phase_ = 0;
};

}  // namespace lacuna::kernels
