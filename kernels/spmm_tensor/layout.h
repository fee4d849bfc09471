// Where things lie in the shared memory of the tensor-core SpMM. Host and device.
//
//   tile    some rows of A by 64 k, in f16: a row is 128 bytes, 128-byte swizzle, K-major
//   slab    the same 64 k of B: rows of 128 bytes (32 columns), swizzled, side by side in boxes
#pragma once

#if defined(__CUDACC__)
#define LACUNA_LAYOUT_HD __host__ __device__ __forceinline__
#else
#define LACUNA_LAYOUT_HD inline
#endif

namespace lacuna::kernels::spmm_tensor_layout {

constexpr int kRowBytes = 128;  // the widest swizzle
constexpr int kSlabK = 64;      // k of a tile's row
constexpr int kMostCols = 128;  // of B in a slab

/// The 128-byte swizzle: 16-byte piece `piece` of 128-byte row `row` lies at this byte of the row.
LACUNA_LAYOUT_HD constexpr int swizzled(int row, int piece) { return (piece ^ (row & 7)) * 16; }

/// Byte of B's f32 element (k, n) in a slab, as the tensor copy with 128-byte swizzle leaves it; n < kMostCols. The four
/// lanes that share a column of B read k = 2t or 2t + 1, which the swizzle puts into disjoint banks.
LACUNA_LAYOUT_HD constexpr int slab_byte(int k, int n) {
  const int at = n * 4;
  return at / kRowBytes * (kSlabK * kRowBytes) + k * kRowBytes + swizzled(k, at % kRowBytes >> 4) + (at & 15);
}

/// Column of C, within its warp's 16, of accumulator row i (0..15): lanes own pairs of columns, so that C is stored two
/// columns at a time with no exchange between lanes.
LACUNA_LAYOUT_HD constexpr int column_of_row(int i) { return 2 * (i & 7) + (i >> 3); }

}  // namespace lacuna::kernels::spmm_tensor_layout
