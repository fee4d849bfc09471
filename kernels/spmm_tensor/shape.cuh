// The compile-time shape of the tensor-core SpMM kernel, its arguments, and the walk over tiles that all its warps
// share.
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"
#include "kernels/spmm_tensor/layout.h"

namespace lacuna::kernels {

/// kRows_: rows of C per block. kSets_: producer warpgroups, which take turns by stage. kStaged_: entries of a list
/// that are copied ahead to shared memory; what is more is read late, from global memory.
/// kTurnAfter_: a consumer group hands over to the other after this many of a stage's twelve products; 0: no turns.
template <int kRows_, int kStages_, int kSets_, int kStaged_, int kTurnAfter_>
struct SpmmTensorShape {
  static constexpr int kRows = kRows_, kStages = kStages_, kSets = kSets_, kStaged = kStaged_;
  static constexpr int kTurnAfter = kTurnAfter_;
  static constexpr int kSlabK = spmm_tensor_layout::kSlabK;
  static constexpr int kPanels = kRows / spmm_tensor_layout::kPanelRows;
  static constexpr int kPanelsPerWarp = kPanels / 4;  // a set has four warps
  static constexpr int kSlabBytes = kSlabK * spmm_tensor_layout::kTileN * sizeof(float);
  static constexpr int kTileBytes = kRows * spmm_tensor_layout::kRowBytes;  // of the high parts; the low parts' follows
  static constexpr int kStageBytes = kSlabBytes + 2 * kTileBytes;
  static constexpr int kKeptPanelBytes = 16 + kStaged * 2;  // of a stage's entries: their number, their positions
  static constexpr int kKeptBytes = kPanels * kKeptPanelBytes;
  static constexpr int kStagedPanelBytes = kStaged * (2 + 4);  // positions, then values
  static constexpr int kStagedBytes = kSets * kPanels * kStagedPanelBytes;

  static constexpr int kThreads = 128 * (2 + kSets);
  // Of the 168 (128) that each thread of three (four) warpgroups is launched with; together no more, or the kernel
  // waits for ever.
  static constexpr int kConsumerRegisters = kSets == 1 ? 224 : 216;
  static constexpr int kProducerRegisters = kSets == 1 ? 56 : 40;

  /// Behind the stages lie kept positions, staged lists and barriers; 1024 spare bytes, since the swizzle needs that
  /// alignment.
  static constexpr int kSharedBytes =
      1024 + kStages * (kStageBytes + kKeptBytes) + kStagedBytes + 8 * (2 * kStages + 4 * kSets);
  static_assert(kRows == 128 && kStaged % 8 == 0 && kSharedBytes <= 227 * 1024);
};

struct SpmmTensorArguments {
  const std::int32_t* list_offsets;
  const std::uint16_t* positions;
  const void* packed;
  const float* row_factors;  // what the rows of A were divided by
  const float* bias;
  void* c;
  std::int64_t c_ld;
  int m, n;
  int panels, slabs;
  int m_tiles, n_tiles;
  int group;   // m tiles that are walked together, for the sake of L2
  bool pairs;  // C can be stored two columns at a time
  Activation activation;
};

/// Where a block's shared memory lies, as shared addresses.
struct SpmmTensorShared {
  std::uint32_t stages, kept, staged, full, empty, listed;
};

struct TileAt {
  int m, n;  // in tiles
};

/// Blocks that run together should share rows of A's stream and columns of B: `group` m tiles by all n tiles, m first.
__device__ __forceinline__ TileAt tile_at(const SpmmTensorArguments& p, int index) {
  const int per_group = p.group * p.n_tiles;
  const int first = index / per_group * p.group;
  const int height = min(p.group, p.m_tiles - first);
  const int within = index % per_group;
  return {first + within % height, within / height};
}

}  // namespace lacuna::kernels
