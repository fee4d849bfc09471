// The consumer warpgroups of the tensor-core SpMM: C^T = B^T A^T, each 64 columns of C by all the block's rows.
//
// B^T is the register operand, because wgmma knows TF32 operands in shared memory K-major only and B is not (and because
// f32 has to be split on the way); A's tile is the shared one. Here: TF32 and bf16; consumer_split.cuh: f32.
#pragma once

#include "kernels/pointwise/activation.h"
#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"
#include "kernels/spmm_tensor/wgmma.cuh"

namespace lacuna::kernels {

/// What both kinds of consumers do: stages, this lane's columns, and C.
template <class S>
class SpmmTensorConsumerBase {
 public:
  static constexpr int kHalves = S::kRows / 128;  // a product has 128 rows of A
  static constexpr int kSteps = 4;                // products along k in a stage: 32 bytes of the tile's rows each
  using Sums = float[kHalves][64];

 protected:
  __device__ SpmmTensorConsumerBase(const SpmmTensorArguments& arguments, const SpmmTensorShared& shared, int group)
      : p_(arguments), shared_(shared) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    t_ = lane % 4;
    column_ = group * 64 + warp * 16 + spmm_tensor_layout::column_of_row(lane / 4);
    even_ = spmm_tensor_layout::slab_byte(2 * t_, column_, S::kSlabK, S::kDenseElement);
    odd_ = spmm_tensor_layout::slab_byte(2 * t_ + 1, column_, S::kSlabK, S::kDenseElement);
  }

  __device__ int tiles() const { return p_.m_tiles * p_.n_tiles; }
  __device__ std::uint32_t slab_at(int stage) const { return shared_.stages + stage * S::kStageBytes; }
  __device__ void release(int stage) const {
    if (threadIdx.x % 32 == 0) barrier_arrive(shared_.empty + 8 * stage);
  }

  __device__ void store(const Sums& sums, TileAt at) const {
    const int n = at.n * spmm_tensor_layout::kTileN + column_;
    if (n >= p_.n) return;
    const bool pair = p_.pairs && n + 1 < p_.n;
#pragma unroll
    for (int j = 0; j < kHalves * 16; ++j) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int m = at.m * S::kRows + 8 * j + 2 * t_ + i;
        if (m >= p_.m) continue;
        float x = sums[j / 16][j % 16 * 4 + i], y = sums[j / 16][j % 16 * 4 + i + 2];
        if constexpr (S::kSplit) {
          const float factor = __ldg(p_.row_factors + m);
          x *= factor, y *= factor;
        }
        if (p_.bias) {
          const float bias = __ldg(p_.bias + m);
          x += bias, y += bias;
        }
        x = activate(p_.activation, x), y = activate(p_.activation, y);
        typename S::Dense* c = static_cast<typename S::Dense*>(p_.c) + (m * p_.c_ld + n);
        if constexpr (S::kDenseElement == 4) {
          if (pair) {
            *reinterpret_cast<float2*>(c) = make_float2(x, y);
          } else {
            c[0] = x;
            if (n + 1 < p_.n) c[1] = y;
          }
        } else {
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
  const SpmmTensorShared& shared_;
  int t_, column_;            // this lane has this column of the block and the next
  std::uint32_t even_, odd_;  // bytes in a slab of its columns at k = 2t and 2t + 1
};

template <class S>
class SpmmTensorConsumer : SpmmTensorConsumerBase<S> {
  using Base = SpmmTensorConsumerBase<S>;
  using Base::kHalves, Base::kSteps;
  using typename Base::Sums;

 public:
  __device__ SpmmTensorConsumer(const SpmmTensorArguments& arguments, const SpmmTensorShared& shared, int group)
      : Base(arguments, shared, group) {}

  __device__ void run() {
#ifdef SPMM_TENSOR_PROFILE
    const long long begin = clock64();
#endif
    for (int tile = blockIdx.x; tile < this->tiles(); tile += gridDim.x) {
      Sums sums = {};
      std::uint32_t first[kSteps][4], second[kSteps][4];  // one is loaded while the products of the other run
      int slab = 0;
      for (; slab + 1 < this->p_.slabs; slab += 2) {
        stage(sums, first, slab > 0);
        stage(sums, second, true);
      }
      if (slab < this->p_.slabs) stage(sums, first, slab > 0);
      wgmma_wait<0>();
      if (this->p_.slabs > 0) this->release(previous_);
      this->store(sums, tile_at(this->p_, tile));
    }
#ifdef SPMM_TENSOR_PROFILE
    if (blockIdx.x == 0 && threadIdx.x % 128 == 0) {
      long long* to = spmm_tensor_profile + 8 * (threadIdx.x / 128);
      to[0] = clock64() - begin, to[1] = waited_full_, to[2] = waited_products_;
    }
#endif
  }

 private:
  /// B^T's registers of this stage for all steps.
  __device__ void load(std::uint32_t slab, std::uint32_t (&b)[kSteps][4]) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if constexpr (S::kDenseElement == 4) {
        const std::uint32_t at = slab + step * 1024;
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(b[step][0]), "=r"(b[step][1]) : "r"(at + this->even_));
        asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(b[step][2]), "=r"(b[step][3]) : "r"(at + this->odd_));
      } else {
        const std::uint32_t at = slab + step * 2048;
        std::uint32_t x[4];  // pairs of columns at k = 2t, 2t + 1, 2t + 8, 2t + 9
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[0]) : "r"(at + this->even_));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[1]) : "r"(at + this->odd_));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[2]) : "r"(at + this->even_ + 1024));
        asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x[3]) : "r"(at + this->odd_ + 1024));
        b[step][0] = __byte_perm(x[0], x[1], 0x5410);
        b[step][1] = __byte_perm(x[0], x[1], 0x7632);
        b[step][2] = __byte_perm(x[2], x[3], 0x5410);
        b[step][3] = __byte_perm(x[2], x[3], 0x7632);
      }
    }
    if constexpr (S::kMath == SpmmTensorMath::tf32) {
#pragma unroll
      for (int i = 0; i < kSteps * 4; ++i) {
        std::uint32_t& x = b[i / 4][i % 4];
        asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(x) : "f"(__uint_as_float(x)));
      }
    }
  }

  __device__ void stage(Sums& sums, std::uint32_t (&b)[kSteps][4], bool release_previous) {
    const std::uint32_t slab = this->slab_at(stage_);
    SPMM_TENSOR_TIMED(waited_full_, barrier_wait(this->shared_.full + 8 * stage_, phase_));
    load(slab, b);
    const std::uint64_t tile = wgmma_descriptor(slab + S::kSlabBytes);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        const std::uint64_t rows = tile + half * (128 * spmm_tensor_layout::kRowBytes >> 4) + 2 * step;
        if constexpr (S::kMath == SpmmTensorMath::tf32) wgmma_tf32(sums[half], b[step], rows, 1);
        else wgmma_bf16(sums[half], b[step], rows, 1);
      }
    }
    wgmma_commit();
    SPMM_TENSOR_TIMED(waited_products_, wgmma_wait<1>());  // the previous stage's products are done
    if (release_previous) this->release(previous_);
    previous_ = stage_;
    if (++stage_ == S::kStages) stage_ = 0, phase_ ^= 1;
  }

  int stage_ = 0, previous_ = 0;
  unsigned phase_ = 0;
#ifdef SPMM_TENSOR_PROFILE
  long long waited_full_ = 0, waited_products_ = 0;
#endif
};

}  // namespace lacuna::kernels
