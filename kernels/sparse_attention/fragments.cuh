// Tensor-core fragments of gathered rows, for bf16 (m16n8k16) and TF32 (m16n8k8) alike.
//
// Staged rows are cut into lines of 128 bytes, all rows' first lines first; the eight 16-byte chunks of a line are
// permuted by XOR with row % 8 (the copy engine's 128-byte swizzle). Both kinds of load read 16 bytes a lane, and any
// rows may meet in one load, since a lane computes its own address:
//   products over d (scores): lane (g, c) reads chunk c of a 64-byte segment of row slot g. Which element of d a
//     register holds is then permuted, the same way for both operands, so the sum is the same.
//   products over rows (output): lane (g, c) reads chunk g of a 128-byte line of row slots 2c and 2c + 1. Which column
//     an accumulator holds is permuted; the store undoes it.
// A quarter warp meets no bank conflict when slots 2i, 2i + 1 differ in bit 2 of the row, and slots 0, 2, 4, 6 (1, 3,
// 5, 7) in its class, row / 2 % 4: the plan orders slots so, as far as the columns in use allow. ldmatrix would need 8
// rows that differ in row % 8, which scattered rows seldom do.
//
// g = lane / 4, c = lane % 4.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/sparse_attention/tiling.h"

namespace lacuna::kernels::attention {

constexpr unsigned kFullWarp = 0xffffffffu;

enum class Arithmetic { bf16, tf32, tf32x3 };

__device__ inline uint4 load_shared16(std::uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(address));
  return v;
}
__device__ inline uint2 load_shared8(std::uint32_t address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address));
  return v;
}
__device__ inline std::uint32_t load_shared4(std::uint32_t address) {
  std::uint32_t v;
  asm volatile("ld.shared.u32 %0, [%1];" : "=r"(v) : "r"(address));
  return v;
}
__device__ inline void store_shared4(std::uint32_t address, std::uint32_t v) {
  asm volatile("st.shared.u32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}
__device__ inline void store_shared16(std::uint32_t address, uint4 v) {
  asm volatile("st.shared.v4.u32 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w)
               : "memory");
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline std::uint32_t to_tf32(std::uint32_t x) {
  std::uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(__uint_as_float(x)));
  return y;
}

/// {low, high} halves of a register as bf16.
__device__ inline std::uint32_t pack_bf16(float low, float high) {
  std::uint32_t y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

__device__ inline void mma_bf16(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void mma_tf32(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// What TF32 leaves of an f32: tensor cores ignore the lowest 13 bits of their operands.
__device__ inline std::uint32_t low_part(std::uint32_t x) {
  return __float_as_uint(__uint_as_float(x) - __uint_as_float(x & 0xffffe000u));
}

/// c += a b, with f32 operands as one TF32 term each, or two (three products; the smallest, low * low, is left out).
/// With one term, `a` has been rounded by its maker and b is cut off: rounding each b costs as many instructions as a
/// product (there is none for it that keeps NaN), for a relative 2^-11 that a's rounding has already brought in.
template <Arithmetic arithmetic>
__device__ inline void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  if constexpr (arithmetic == Arithmetic::bf16) {
    mma_bf16(c, a, b0, b1);
  } else {
    if constexpr (arithmetic == Arithmetic::tf32x3) {
      const std::uint32_t low[4] = {low_part(a[0]), low_part(a[1]), low_part(a[2]), low_part(a[3])};
      mma_tf32(c, low, b0, b1);
      mma_tf32(c, a, low_part(b0), low_part(b1));
    }
    mma_tf32(c, a, b0, b1);
  }
}

/// Address of a chunk of a staged row's first line.
__device__ inline std::uint32_t row_chunk(std::uint32_t stage, std::uint32_t row, std::uint32_t chunk) {
  return stage + row * 128 + ((chunk ^ (row & 7)) * 16);
}

template <Arithmetic arithmetic_, int row_bytes_>
struct Tile {
  static constexpr Arithmetic arithmetic = arithmetic_;
  static constexpr int kRowBytes = row_bytes_;
  static constexpr int kSegments = kRowBytes / 64;                         // of products over d
  static constexpr int kLines = kRowBytes / 128;                           // of products over rows
  static constexpr int kColumns = arithmetic == Arithmetic::bf16 ? 8 : 4;  // accumulators (of 8 columns) a line fills
  static constexpr int kWindow = window_of(kRowBytes);
  static constexpr int kLineBytes = kWindow * 128;  // one line of all rows
  /// Sums on tensor cores round towards zero: f32 accuracy needs chunks, added in registers.
  static constexpr bool kChunked = arithmetic == Arithmetic::tf32x3;

  using Rows = std::uint32_t[kSegments][8];  // operand A: 16 rows; words 0-3 of row g, 4-7 of row g + 8
  using Output = float[kLines][kColumns][4];

  static __device__ std::uint32_t operand(float x) {
    return arithmetic == Arithmetic::tf32 ? to_tf32(__float_as_uint(x)) : __float_as_uint(x);
  }

  /// scores[n] += A B^T for `num` groups of 8 slots; address[n]: row_chunk(., c) of slot g of group n.
  template <int num>
  static __device__ void score(float (&scores)[num][4], const Rows& a, const std::uint32_t (&address)[num]) {
#pragma unroll
    for (int s = 0; s < kSegments; ++s) {
      score_segment<num>(scores, a[s], address, s);
    }
  }
  template <int num>
  static __device__ void score_segment(float (&scores)[num][4], const std::uint32_t (&a)[8],
                                       const std::uint32_t (&address)[num], int s) {
    uint4 b[num];
#pragma unroll
    for (int n = 0; n < num; ++n) b[n] = load_shared16((s & 1 ? address[n] ^ 64 : address[n]) + s / 2 * kLineBytes);
    const std::uint32_t a0[4] = {a[0], a[4], a[1], a[5]}, a1[4] = {a[2], a[6], a[3], a[7]};
#pragma unroll
    for (int n = 0; n < num; ++n) multiply<arithmetic>(scores[n], a0, b[n].x, b[n].y);
#pragma unroll
    for (int n = 0; n < num; ++n) multiply<arithmetic>(scores[n], a1, b[n].z, b[n].w);
  }

  /// out += P B for `num` groups of 8 slots (even); p: accumulators of score; address[n][i]: row_chunk(., g) of slot 2c
  /// + i.
  template <int num>
  static __device__ void accumulate(Output& out, const float (&p)[num][4], const std::uint32_t (&address)[num][2]) {
    std::uint32_t a[num][4];
#pragma unroll
    for (int n = 0; n < num; n += 2) {
      if constexpr (arithmetic == Arithmetic::bf16) {
        a[n][0] = pack_bf16(p[n][0], p[n][1]), a[n][1] = pack_bf16(p[n][2], p[n][3]);
        a[n][2] = pack_bf16(p[n + 1][0], p[n + 1][1]), a[n][3] = pack_bf16(p[n + 1][2], p[n + 1][3]);
      } else {
#pragma unroll
        for (int m = n; m < n + 2; ++m) {
          a[m][0] = operand(p[m][0]), a[m][1] = operand(p[m][2]);
          a[m][2] = operand(p[m][1]), a[m][3] = operand(p[m][3]);
        }
      }
    }
#pragma unroll
    for (int line = 0; line < kLines; ++line) {
      float chunk[kColumns][4] = {};
#pragma unroll
      for (int n = 0; n < num; n += 2) {
        const uint4 x0 = load_shared16(address[n][0] + line * kLineBytes),
                    x1 = load_shared16(address[n][1] + line * kLineBytes);
        const uint4 y0 = load_shared16(address[n + 1][0] + line * kLineBytes);
        const uint4 y1 = load_shared16(address[n + 1][1] + line * kLineBytes);
        const std::uint32_t u0[4] = {x0.x, x0.y, x0.z, x0.w}, u1[4] = {x1.x, x1.y, x1.z, x1.w};
        const std::uint32_t v0[4] = {y0.x, y0.y, y0.z, y0.w}, v1[4] = {y1.x, y1.y, y1.z, y1.w};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if constexpr (arithmetic == Arithmetic::bf16) {
            mma_bf16(out[line][2 * i], a[n], __byte_perm(u0[i], u1[i], 0x5410), __byte_perm(v0[i], v1[i], 0x5410));
            mma_bf16(out[line][2 * i + 1], a[n], __byte_perm(u0[i], u1[i], 0x7632), __byte_perm(v0[i], v1[i], 0x7632));
          } else {
            float(&sum)[4] = kChunked ? chunk[i] : out[line][i];
            multiply<arithmetic>(sum, a[n], u0[i], u1[i]);
            multiply<arithmetic>(sum, a[n + 1], v0[i], v1[i]);
          }
        }
      }
      if constexpr (kChunked) {
#pragma unroll
        for (int i = 0; i < kColumns; ++i)
#pragma unroll
          for (int e = 0; e < 4; ++e) out[line][i][e] += chunk[i][e];
      }
    }
  }
};

template <class T>
__device__ inline uint4 load_global16(const T* from, bool aligned) {
  if (aligned) return *reinterpret_cast<const uint4*>(from);
  uint4 v;
  T* parts = reinterpret_cast<T*>(&v);
#pragma unroll
  for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i) parts[i] = from[i];
  return v;
}

/// Operand A of 16 rows of a [t, d] matrix whose rows are `stride` apart; rows past t and padding are zeros. negate: exact.
template <class T, class TileOf>
__device__ void load_rows(typename TileOf::Rows& a, const T* matrix, int stride, int t, int d, int first_row,
                          bool aligned, bool negate) {
  constexpr int kElements = 16 / sizeof(T);
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
  const std::uint32_t sign = !negate ? 0 : sizeof(T) == 2 ? 0x80008000u : 0x80000000u;
#pragma unroll
  for (int s = 0; s < TileOf::kSegments; ++s) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + g + 8 * half, column = (s * 4 + c) * kElements;
      uint4 v{0, 0, 0, 0};
      if (row < t && column < d) v = load_global16(matrix + static_cast<std::int64_t>(row) * stride + column, aligned);
      const std::uint32_t words[4] = {v.x ^ sign, v.y ^ sign, v.z ^ sign, v.w ^ sign};
#pragma unroll
      for (int i = 0; i < 4; ++i)
        a[s][4 * half + i] = TileOf::arithmetic == Arithmetic::tf32 ? to_tf32(words[i]) : words[i];
    }
  }
}

/// Stores factor[half] * out to 16 rows of a [t, d] matrix whose rows are `stride` apart; adds (bf16): beside weight[half]
/// times what is there.
template <class T, class TileOf>
__device__ void store_rows(const typename TileOf::Output& out, const float (&factor)[2], T* matrix, int stride, int t,
                           int d, int first_row, bool aligned, bool adds = false, const float (&weight)[2] = {1, 1}) {
  constexpr int kElements = 16 / sizeof(T);
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int line = 0; line < TileOf::kLines; ++line) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = first_row + g + 8 * half, column = (line * 8 + 2 * c + e) * kElements;
        if (row >= t || column >= d) continue;
        float x[kElements];
#pragma unroll
        for (int j = 0; j < kElements; ++j) x[j] = out[line][j][e + 2 * half] * factor[half];
        T* to = matrix + static_cast<std::int64_t>(row) * stride + column;
        uint4 v;
        if constexpr (sizeof(T) == 2) {
          if (adds) {
            v = load_global16(static_cast<const T*>(to), aligned);
            const std::uint32_t words[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int j = 0; j < kElements; ++j) {
              const std::uint32_t bits = j % 2 ? words[j / 2] & 0xffff0000u : words[j / 2] << 16;
              x[j] = fmaf(__uint_as_float(bits), weight[half], x[j]);
            }
          }
        }
        if constexpr (sizeof(T) == 2) {
          v = {pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7])};
        } else {
          v = {__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3])};
        }
        if (aligned) {
          *reinterpret_cast<uint4*>(to) = v;
        } else {
          const T* parts = reinterpret_cast<const T*>(&v);
#pragma unroll
          for (int i = 0; i < kElements; ++i) to[i] = parts[i];
        }
      }
    }
  }
}

}  // namespace lacuna::kernels::attention
