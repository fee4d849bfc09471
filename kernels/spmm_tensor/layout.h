// Where things lie in the tensor-core SpMM: the shared-memory tiles and the order of a plan's entries. Host and device.
//
//   list    the entries of a panel (32 rows of A) in a slab (128 bytes of k: 32 f32, 64 bf16); what one warp scatters
//   tile    a panel's list as a dense block in shared memory: row r at r * 128 bytes, 128-byte swizzled, K-major
//   slab    the same k of B: k rows of 128 bytes, swizzled, side by side in boxes of 128 bytes of n
//
// Within eight f32 of k the hardware's order is free as long as both operands agree. Here hardware k t is the actual
// 2t, and t + 4 is 2t + 1: so the four lanes that share a column of B read rows 2t, which the swizzle puts into
// disjoint banks. (Rows t, t + 4 would meet two by two.)
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LACUNA_LAYOUT_HD __host__ __device__ __forceinline__
#else
#define LACUNA_LAYOUT_HD inline
#endif

namespace lacuna::kernels::spmm_tensor_layout {

constexpr int kPanelRows = 32;  // rows of A in a list
constexpr int kRowBytes = 128;  // of k: the widest swizzle
constexpr int kPanelBytes = kPanelRows * kRowBytes;
constexpr int kTileN = 128;              // columns of B and C per block: two warpgroups of 64
constexpr int kEntryQuad = 4;            // what a lane reads at once
constexpr int kListMultiple = 8;         // lists are padded to this: bulk copies take 16 bytes at least
constexpr int kRound = 32 * kEntryQuad;  // entries that a warp reads at once

constexpr int slab_k(int element_bytes) { return kRowBytes / element_bytes; }

/// The 128-byte swizzle: 16-byte piece `piece` of 128-byte row `row` lies at this byte of the row.
LACUNA_LAYOUT_HD constexpr int swizzled(int row, int piece) { return (piece ^ (row & 7)) * 16; }

/// Hardware column (0 .. slab_k - 1) of the actual column k of a slab.
LACUNA_LAYOUT_HD constexpr int hardware_k(int k, int element_bytes) {
  return element_bytes == 4 ? (k & ~7) + ((k & 7) >> 1) + ((k & 1) << 2) : k;
}

/// Byte of entry (row, k) in its panel's tile; row < 32, k < slab_k.
LACUNA_LAYOUT_HD constexpr int tile_byte(int row, int k, int element_bytes) {
  const int at = hardware_k(k, element_bytes) * element_bytes;
  return row * kRowBytes + swizzled(row, at >> 4) + (at & 15);
}

/// Byte of B's element (k, n) in a slab of `rows` k, as the tensor copy with 128-byte swizzle leaves it; n < kTileN.
LACUNA_LAYOUT_HD constexpr int slab_byte(int k, int n, int rows, int element_bytes) {
  const int at = n * element_bytes;
  return at / kRowBytes * (rows * kRowBytes) + k * kRowBytes + swizzled(k, at % kRowBytes >> 4) + (at & 15);
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
