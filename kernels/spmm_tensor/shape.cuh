// The compile-time shape of a tensor-core SpMM kernel, its arguments, and the walk over tiles that all its warps share.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"
#include "kernels/spmm_tensor/layout.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

/// kMath_: what one stage multiplies. kRows_: rows of C per block. kSets_: producer warpgroups, which take turns by stage.
template <SpmmTensorMath kMath_, int kRows_, int kStages_, int kSets_, bool kTurns_, int kRounds_ = 2,
          int kGroupRows_ = 2048>
struct SpmmTensorShape {
  static constexpr SpmmTensorMath kMath = kMath_;
  static constexpr bool kSplit = kMath == SpmmTensorMath::f32;
  static constexpr bool kTurns = kTurns_;
  static constexpr int kElement = kMath == SpmmTensorMath::bf16 ? 2 : 4;
  static constexpr int kRows = kRows_, kStages = kStages_, kSets = kSets_;
  static constexpr int kSlabK = spmm_tensor_layout::slab_k(kElement);
  static constexpr int kPanels = kRows / spmm_tensor_layout::kPanelRows;
  static constexpr int kPanelsPerWarp = kPanels / 4;  // a set has four warps
  // Rounds of 128 entries per panel that a producer warp reads ahead into registers.
  static constexpr int kRounds = kRounds_;
  static constexpr int kGroupRows = kGroupRows_;
  static constexpr int kSlabBytes = kSlabK * spmm_tensor_layout::kTileN * kElement;
  static constexpr int kTileBytes = kRows * spmm_tensor_layout::kRowBytes;  // one dense tile; kSplit has two
  static constexpr int kStageBytes = kSlabBytes + kTileBytes * (kSplit ? 2 : 1);
  static constexpr int kThreads = 128 * (2 + kSets);
  // Of the 168 (128) that each thread of three (four) warpgroups is launched with; together no more, or the kernel waits
  // for ever. With fewer than 208 the compiler runs the products of 256 rows one after the other.
  static constexpr int kConsumerRegisters = 208;
  static constexpr int kProducerRegisters = kSets == 1 ? 88 : 48;
  static constexpr int kKeptPanelBytes = 16 + kRounds * 32 * 8;  // of a stage's entries: their number, their positions
  static constexpr int kKeptBytes = kPanels * kKeptPanelBytes;
  /// Kept positions and barriers lie behind the stages; 1024 spare bytes because the swizzle needs that alignment.
  static constexpr int kSharedBytes = 1024 + kStages * (kStageBytes + kKeptBytes + 2 * 8);
  static_assert(kPanels % 4 == 0 && kStages % kSets == 0 && kSharedBytes <= 227 * 1024);
};

struct SpmmTensorArguments {
  const std::int32_t* list_offsets;
  const std::uint16_t* positions;
  const void* packed;
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
