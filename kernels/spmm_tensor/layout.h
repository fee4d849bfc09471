// Where things lie in the tensor-core SpMM: the shared-memory tiles and the order of a plan's entries. Host and device.
//
//   list    the entries of a panel (32 rows of A) in a slab (64 k); what one warp scatters
//   tile    a list as a dense block of 2-byte numbers: row r at r * 128 bytes, 128-byte swizzled, K-major
//   slab    the same 64 k of B: rows of 128 bytes, swizzled, side by side in boxes of 128 bytes of n
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LACUNA_LAYOUT_HD __host__ __device__ __forceinline__
#else
#define LACUNA_LAYOUT_HD inline
#endif

namespace lacuna::kernels::spmm_tensor_layout {

constexpr int kPanelRows = 32;  // rows of A in a list
constexpr int kRowBytes = 128;  // the widest swizzle
constexpr int kSlabK = 64;      // k of a tile's row
constexpr int kPanelBytes = kPanelRows * kRowBytes;
constexpr int kTileM = 128;              // rows of C per block: four panels
constexpr int kTileN = 128;              // columns of C per block: two warpgroups of 64
constexpr int kEntryQuad = 4;            // what a lane reads at once
constexpr int kListMultiple = 8;         // lists are padded to this: bulk copies take 16 bytes at least
constexpr int kRound = 32 * kEntryQuad;  // entries that a warp reads at once

/// The 128-byte swizzle: 16-byte piece `piece` of 128-byte row `row` lies at this byte of the row.
LACUNA_LAYOUT_HD constexpr int swizzled(int row, int piece) { return (piece ^ (row & 7)) * 16; }

/// Byte of entry (row, k) in its panel's tile; row < 32, k < 64.
LACUNA_LAYOUT_HD constexpr int tile_byte(int row, int k) {
  const int at = k * 2;
  return row * kRowBytes + swizzled(row, at >> 4) + (at & 15);
}

/// Byte of B's f32 element (k, n) in a slab, as the tensor copy with 128-byte swizzle leaves it; n < kTileN. The four
/// lanes that share a column of B read k = 2t or 2t + 1, which the swizzle puts into disjoint banks.
LACUNA_LAYOUT_HD constexpr int slab_byte(int k, int n) {
  const int at = n * 4;
  return at / kRowBytes * (kSlabK * kRowBytes) + k * kRowBytes + swizzled(k, at % kRowBytes >> 4) + (at & 15);
}

/// Column of C, within its warp's 16, of accumulator row i (0..15): lanes own pairs of columns, so that C is stored two
/// columns at a time with no exchange between lanes.
LACUNA_LAYOUT_HD constexpr int column_of_row(int i) { return 2 * (i & 7) + (i >> 3); }

/// Slot of the e-th of `padded` entries of a list. A lane reads quads, a store writes one entry of every lane's quad:
/// entries that follow each other go to different lanes, so that each store sees the order the plan made (see plan.cu).
LACUNA_LAYOUT_HD constexpr int slot_of(int e, int padded) {
  const int round = e / kRound * kRound;
  const int lanes = padded - round >= kRound ? 32 : (padded - round) / kEntryQuad;
  return round + (e - round) % lanes * kEntryQuad + (e - round) / lanes;
}

}  // namespace lacuna::kernels::spmm_tensor_layout
