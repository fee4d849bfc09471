// The compile-time shape of a tensor-core SpMM kernel, its arguments, and the walk over tiles that all its warps share.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"
#include "kernels/spmm_tensor/layout.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

/// kMath_: what a stage multiplies. kRows_: rows of C per block. kSets_: producer warpgroups, which take turns by stage.
/// kStaged_: entries per panel that are copied ahead to shared memory; longer lists are read late, from global memory.
template <SpmmTensorMath kMath_, int kRows_, int kStages_, int kSets_, int kStaged_, int kGroupRows_ = 2048,
          int kTurnAfter_ = 12>
struct SpmmTensorShape {
  static constexpr SpmmTensorMath kMath = kMath_;
  static constexpr bool kSplit = kMath == SpmmTensorMath::f32;
  static constexpr int kTileElement = kMath == SpmmTensorMath::tf32 ? 4 : 2;
  static constexpr int kDenseElement = kMath == SpmmTensorMath::bf16 ? 2 : 4;
  static constexpr int kValueBytes = kMath == SpmmTensorMath::bf16 ? 2 : 4;  // of a packed value; split: high, low
  using Dense = std::conditional_t<kMath == SpmmTensorMath::bf16, Bf16, float>;

  static constexpr int kRows = kRows_, kStages = kStages_, kSets = kSets_, kStaged = kStaged_;
  static constexpr int kGroupRows = kGroupRows_;
  static constexpr int kTurnAfter = kTurnAfter_;
  static constexpr int kSlabK = spmm_tensor_layout::slab_k(kTileElement);
  static constexpr int kPanels = kRows / spmm_tensor_layout::kPanelRows;
  static constexpr int kPanelsPerWarp = kPanels / 4;  // a set has four warps
  static constexpr int kSlabBytes = kSlabK * spmm_tensor_layout::kTileN * kDenseElement;
  static constexpr int kTileBytes = kRows * spmm_tensor_layout::kRowBytes;  // one dense tile; kSplit has two
  static constexpr int kStageBytes = kSlabBytes + kTileBytes * (kSplit ? 2 : 1);
  static constexpr int kKeptPanelBytes = 16 + kStaged * 2;  // of a stage's entries: their number, their positions
  static constexpr int kKeptBytes = kPanels * kKeptPanelBytes;
  static constexpr int kStagedPanelBytes = kStaged * (2 + kValueBytes);  // positions, then values
  static constexpr int kStagedBytes = kSets * kPanels * kStagedPanelBytes;

  static constexpr int kThreads = 128 * (2 + kSets);
  // Of the 168 (128) that each thread of three (four) warpgroups is launched with; together no more, or the kernel waits
  // for ever.
  static constexpr int kConsumerRegisters = kSets == 1 ? 224 : kSplit ? 216 : 208;
  static constexpr int kProducerRegisters = kSets == 1 ? 56 : kSplit ? 40 : 48;

  /// Behind the stages lie kept positions, staged lists and barriers; 1024 spare bytes, since the swizzle needs that
  /// alignment.
  static constexpr int kSharedBytes =
      1024 + kStages * (kStageBytes + kKeptBytes) + kStagedBytes + 8 * (2 * kStages + 4 * kSets);
  static_assert(kPanels % 4 == 0 && kStaged % 8 == 0 && kSharedBytes <= 227 * 1024);
};

struct SpmmTensorArguments {
  const std::int32_t* list_offsets;
  const std::uint16_t* positions;
  const void* packed;
  const float* row_factors;  // f32: what the rows of A were divided by
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

#ifdef SPMM_TENSOR_PROFILE
__device__ long long spmm_tensor_profile[64];
#define SPMM_TENSOR_TIMED(sum, call) \
  do { const long long begin_ = clock64(); call; sum += clock64() - begin_; } while (0)
#else
#define SPMM_TENSOR_TIMED(sum, call) call
#endif

}  // namespace lacuna::kernels
