// The compile-time shape of the bf16 product, its arguments, and the walk over tiles that its warps share. Device code only.
//
//   tile    128 x 256 of C, of a block
//   panel   256 rows of C: two tiles, of the two blocks of a cluster, which share what they read of B
//   slab    64 of the sum's terms, a stage of the ring
//   chunk   256 of the sum's terms, four slabs: what is waited for
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Which of A's indices is C's row.
enum class Bf16ProductRows : std::uint8_t {
  rows,     ///< C = A B
  columns,  ///< C = A^T B
};

template <Bf16ProductRows kOf_>
struct Bf16ProductShape {
  static constexpr Bf16ProductRows kOf = kOf_;
  static constexpr int kRows = 128, kCols = 256, kSlab = 64, kPanel = 256, kChunk = 256;
  static constexpr int kCluster = 2, kStages = 4, kThreads = 3 * 128;
  static constexpr int kBoxBytes = 64 * 128;  // 64 lines of 128 bytes
  static constexpr int kABytes = 2 * kBoxBytes, kBBytes = 4 * kBoxBytes, kStageBytes = kABytes + kBBytes;
  static constexpr int kBufferBytes = 16 * 128;  // 16 rows of 64 columns of C, of each consuming warp
  static constexpr int kSideWarps = 3;           // that write A's dense image
  static constexpr int kImageBytes = 8 * 512;    // of each: eight rows of a chunk
  static constexpr int kSideBytes = kSideWarps * kImageBytes;
  static constexpr int kBarriers = 2 * kStages;
  static constexpr int kSharedBytes =  // the first 1024: to align the stages
      1024 + kStages * kStageBytes + 8 * kBufferBytes + kSideBytes + kBarriers * 8;
  // Registers of a thread: together no more than what the block was launched with, 3 x 168.
  static constexpr int kConsumerRegisters = 184, kProducerRegisters = 504 - 2 * kConsumerRegisters;
  static_assert(kSharedBytes <= 227 * 1024);
};

struct Bf16ProductArguments {
  Bf16* c;  // [m, n]
  std::int64_t c_ld;
  const float* bias;
  bool relu;
  int m, n;
  int slabs, chunks;
  int panels, col_tiles;
  int group;  // panels that are walked together, for the sake of L2

  // A as it is stored, [rows, cols], and its dense image
  const std::int32_t *starts, *row_offsets, *col_indices;
  const std::uint16_t* values;
  std::uint16_t* dense;
  std::int64_t dense_ld;  // a multiple of 8
  int rows, cols, nnz;
  int col_groups;   // of 256 columns, as the plan has them
  unsigned* flags;  // [panels, chunks] batches of rows that are there; then the blocks that are done
};

/// Where a block's shared memory lies, and which tiles are its own.
struct Bf16ProductBlock {
  std::uint32_t stages, buffers, side, full, empty;
  int rank;         // in the cluster
  int first, step;  // of its tiles
  int tiles;        // of all
};

struct Bf16ProductTile {
  int panel, row, col;  // row, col: C's first
};

/// Tiles that run together should share rows of A and columns of B: `group` panels by all columns, panels first.
template <class S>
__device__ __forceinline__ Bf16ProductTile bf16_product_tile(const Bf16ProductArguments& p,
                                                             const Bf16ProductBlock& block, int index) {
  const unsigned per_group = p.group * p.col_tiles, at = index;
  const unsigned first = at / per_group * p.group, within = at % per_group;
  const unsigned height = min(p.group, p.panels - static_cast<int>(first));
  Bf16ProductTile tile;
  tile.panel = static_cast<int>(first + within % height);
  tile.row = tile.panel * S::kPanel + block.rank * S::kRows;
  tile.col = static_cast<int>(within / height) * S::kCols;
  return tile;
}

}  // namespace lacuna::kernels
