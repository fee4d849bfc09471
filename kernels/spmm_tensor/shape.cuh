// The compile-time shapes of the product of spmm_tensor, its arguments, and the walk over tiles that its warps share.
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"
#include "kernels/spmm_tensor/layout.h"

namespace lacuna::kernels {

/// kRows_ x kCols_: of C per block. 128 columns: the two consumer groups have 64 each. 64 columns: both groups have all
/// of them and take a block's slabs in turn; their sums are added at the end.
template <int kRows_, int kCols_, int kStages_>
struct SpmmTensorShape {
  static constexpr int kRows = kRows_, kCols = kCols_, kStages = kStages_;
  static constexpr bool kTakeTurnsByK = kCols == 64;
  static constexpr int kGroupParts = kTakeTurnsByK ? 2 : 1;  // sums of the same elements of C in a block
  static constexpr int kSlabK = spmm_tensor_layout::kSlabK;
  static constexpr int kSlabBytes = kSlabK * kCols * sizeof(float);
  static constexpr int kTileBytes = kRows * spmm_tensor_layout::kRowBytes;  // of the high parts; the low parts' follows
  static constexpr int kStageBytes = kSlabBytes + 2 * kTileBytes;
  static constexpr int kPartLd = kCols + 4;  // of sums in shared memory: a warp's float2 stores meet every bank once
  static constexpr int kPartBytes = kRows * kPartLd * sizeof(float);
  static constexpr int kThreads = 3 * 128;
  // Registers of a thread at launch, and what the warpgroups make of them; together no more, or the kernel waits for
  // ever.
  static constexpr int kLaunchRegisters = 168, kConsumerRegisters = 232, kProducerRegisters = 40;
  static_assert(2 * kConsumerRegisters + kProducerRegisters <= 3 * kLaunchRegisters);

  /// Behind the stages lie row factors, biases and barriers.
  static constexpr int kFactorBytes = 2 * 2 * 128 * sizeof(float);  // two groups' row factors and biases
  static constexpr int kSharedBytes = 1024 + kStages * (kStageBytes + 16) + kFactorBytes;  // 1024: to align them
  static_assert(kSharedBytes <= 227 * 1024 && kGroupParts * kPartBytes <= kStages * kStageBytes);
  static_assert((kRows == 64 || kRows == 128) && (kCols == 64 || kCols == 128));
};

struct SpmmTensorArguments {
  const float* row_factors;  // what the rows of A were divided by
  const float* bias;
  float* c;
  std::int64_t c_ld;
  int m, n;
  int slabs;
  int m_tiles, n_tiles;  // of the block's shape
  int group;             // m tiles that are walked together, for the sake of L2
  int splits;            // blocks of a cluster that share a tile's slabs
  bool b_is_ready;       // before A is dense
  bool pairs, quads;     // C can be stored two, four columns at a time
  Activation activation;
};

/// Where a block's shared memory lies, as shared addresses, and which part of the work is its own.
struct SpmmTensorBlock {
  std::uint32_t stages, factors, full, empty;
  int rank;         // in the cluster
  int first, step;  // of its tiles
};

struct SpmmTensorTile {
  int m, n;        // first row and column of C
  int begin, end;  // slabs
};

/// Blocks that run together should share rows of A and columns of B: `group` m tiles by all n tiles, m first.
template <class S>
__device__ __forceinline__ SpmmTensorTile tile_at(const SpmmTensorArguments& p, const SpmmTensorBlock& block,
                                                  int index) {
  const unsigned per_group = p.group * p.n_tiles, at = index;
  const unsigned first = at / per_group * p.group, within = at % per_group;
  const unsigned height = min(p.group, p.m_tiles - static_cast<int>(first));
  SpmmTensorTile tile;
  tile.m = static_cast<int>(first + within % height) * S::kRows;
  tile.n = static_cast<int>(within / height) * S::kCols;
  const unsigned slabs = p.slabs, splits = p.splits, rank = block.rank;  // 8 slabs are less than 2^28
  tile.begin = static_cast<int>(rank * slabs / splits);
  tile.end = static_cast<int>((rank + 1) * slabs / splits);
  return tile;
}

}  // namespace lacuna::kernels
