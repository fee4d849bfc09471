// The layout of an SDDMM plan, for its maker and its users.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

inline constexpr int kCell = 64;    ///< rows and columns of the squares that are known to be empty or not
inline constexpr int kGroup = 256;  ///< columns between the known places of a row in CSR
inline constexpr int kMaskRows = 128, kMaskCols = 128;  ///< of a block of masks

struct SddmmPlan {
  std::int32_t* starts = nullptr;  ///< [groups, rows] the row's first entry at or past column 256 t
  std::uint8_t* cells = nullptr;   ///< [cell_rows, cell_cols] 1 where the cell holds entries
  std::uint32_t* masks = nullptr;  ///< [rows / 128, 2 groups, 128, 4] a bit a place, where the pattern is dense enough
  std::int64_t groups = 0, cell_rows = 0, cell_cols = 0;
  std::size_t bytes = 0;

  std::size_t mask_bytes() const {
    return static_cast<std::size_t>((cell_rows + 1) / 2 * groups * (kGroup / kMaskCols) * kMaskRows * (kMaskCols / 8));
  }
};

/// Whether a plan has masks, 0.125 bytes a place: beside four bytes and a value for each entry they are little, and
/// making them from more entries than these would take longer than a product.
inline bool sddmm_plan_has_masks(std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
  return rows >= kCell && static_cast<double>(nnz) > 0.25 * static_cast<double>(rows) * static_cast<double>(cols);
}

/// Whether tiles are sampled by masks: the plan's, or, of tiles of 256 columns, ones made from CSR while `pieces` of 128
/// bytes along k are multiplied, which hides it from 24 on. The other maths have no idle warps, or factors to read besides.
inline bool sddmm_samples_by_masks(SddmmMath math, int tile_cols, bool has_masks, std::int64_t pieces) {
  if (math != SddmmMath::bf16 && math != SddmmMath::tf32) return false;
  return has_masks || (tile_cols == 256 && pieces >= 24);
}

inline SddmmPlan sddmm_plan_view(const void* plan, std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
  SddmmPlan view;
  view.groups = (cols + kGroup - 1) / kGroup;
  view.cell_rows = (rows + kCell - 1) / kCell;
  view.cell_cols = (cols + kCell - 1) / kCell;
  view.starts = static_cast<std::int32_t*>(const_cast<void*>(plan));
  std::size_t bytes = static_cast<std::size_t>(view.groups * rows) * sizeof(std::int32_t);
  const auto at = [&](std::size_t place) {  // no arithmetic on a null plan, whose size alone is asked for
    return plan == nullptr ? nullptr : static_cast<std::uint8_t*>(const_cast<void*>(plan)) + place;
  };
  view.cells = at(bytes);
  bytes += static_cast<std::size_t>(view.cell_rows * view.cell_cols);
  if (sddmm_plan_has_masks(rows, cols, nnz)) {
    bytes = (bytes + 15) / 16 * 16;  // the copy engine's
    view.masks = reinterpret_cast<std::uint32_t*>(at(bytes));
    bytes += view.mask_bytes();
  }
  view.bytes = bytes;
  return view;
}

}  // namespace lacuna::kernels
