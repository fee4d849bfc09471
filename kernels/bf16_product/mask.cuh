// Warps that draw dropout's words while others multiply: a bit for each element of a tile, set where it is kept. Device
// code only.
#pragma once

#include "kernels/bf16_product/shape.cuh"
#include "kernels/spmm_tensor/pipeline.cuh"

namespace lacuna::kernels {

/// kernels/random/philox.h with its ten rounds' keys in registers: there are too few spare instructions to make them anew.
struct PhiloxKeys {
  std::uint32_t first[10], second[10];

  __device__ explicit PhiloxKeys(std::uint64_t seed) {
#pragma unroll
    for (int i = 0; i < 10; ++i) {
      first[i] = static_cast<std::uint32_t>(seed) + i * 0x9E3779B9u;
      second[i] = static_cast<std::uint32_t>(seed >> 32) + i * 0xBB67AE85u;
      asm volatile("" : "+r"(first[i]), "+r"(second[i]));
    }
  }
  __device__ __forceinline__ Philox4 draw(std::uint64_t sequence, std::uint64_t counter) const {
    Philox4 c{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
               static_cast<std::uint32_t>(sequence), static_cast<std::uint32_t>(sequence >> 32)}};
#pragma unroll
    for (int i = 0; i < 10; ++i) {
      const std::uint64_t a = 0xD2511F53ull * c.v[0], b = 0xCD9E8D57ull * c.v[2];
      c = Philox4{{static_cast<std::uint32_t>(b >> 32) ^ c.v[1] ^ first[i], static_cast<std::uint32_t>(b),
                   static_cast<std::uint32_t>(a >> 32) ^ c.v[3] ^ second[i], static_cast<std::uint32_t>(a)}};
    }
    return c;
  }
};

/// thread: of the 96. Masks alternate between two places, [128 rows, 8 words of 32 columns] each.
template <class S>
__device__ __forceinline__ void draw_masks(const Bf16ProductArguments& p, const Bf16ProductBlock& block, int thread) {
  const std::uint64_t sequence = p.dropout.sequence;  // may lie in memory
  // uniform_from_word(word) >= threshold, without the conversion: threshold x 2^24 is exact, and below 2^24.
  const std::uint32_t least = static_cast<std::uint32_t>(ceilf(p.dropout.threshold * 16777216.0f)) << 8;
  const PhiloxKeys keys(p.dropout.seed);
  unsigned phase = 1;
  int place = 0;
  for (int index = block.first; index < block.tiles; index += block.step) {
    const Bf16ProductTile tile = bf16_product_tile<S>(p, block, index);
    barrier_wait(block.mask_empty + 8 * place, phase);
#pragma unroll 1
    for (int word = thread; word < S::kMaskBytes / 4; word += S::kSideWarps * 32) {
      const int row = word / 8, m = tile.row + row, n = tile.col + word % 8 * 32;
      std::uint32_t bits = 0;
      if (m < p.m && n < p.n) {
        const std::uint64_t first = (static_cast<std::uint64_t>(m) * p.n + n) / 4;  // n is a multiple of 8
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const Philox4 drawn = keys.draw(sequence, first + i);
#pragma unroll
          for (int j = 0; j < 4; ++j) bits |= drawn.v[j] >= least ? 1u << (4 * i + j) : 0u;
        }
      }
      asm volatile("st.shared.u32 [%0], %1;" ::"r"(block.side + place * S::kMaskBytes + word * 4), "r"(bits)
                   : "memory");
    }
    __syncwarp();
    if (thread % 32 == 0) barrier_arrive(block.mask_full + 8 * place);
    if (++place == 2) place = 0, phase ^= 1;
  }
}

}  // namespace lacuna::kernels
