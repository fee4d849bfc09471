// The sizes that the plan and the kernels agree on.
#pragma once

#include <cstdint>

#include "kernels/sparse_attention/sparse_attention.h"

namespace lacuna::kernels::attention {

constexpr int kWidePanels = 12;   // panels (so warps) of a block where 152 registers a thread are enough
constexpr int kNarrowPanels = 8;  // ... and where 224 are needed

/// Bytes of a staged row: d elements, at least 64 of them; a smaller d is padded with zeros.
constexpr int row_bytes(std::int64_t d, std::size_t element) {
  return static_cast<int>((d < 64 ? 64 : d) * static_cast<std::int64_t>(element));
}

/// 128 columns waste little on rounding a panel's columns up to tiles of 16 (the band-and-random pattern executes 0.51
/// of the causal half; 0.56 with 64, 0.49 with 256), and three stages of K and V still fit.
constexpr int window_of(int bytes) { return bytes > 256 ? 64 : 128; }

constexpr std::int64_t blocks_of(std::int64_t t, int panels_per_block) {
  const std::int64_t rows = panels_per_block * kPanelRows;
  return (t + rows - 1) / rows;
}

}  // namespace lacuna::kernels::attention
