// The layout of an SDDMM plan, for its maker and its users.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int kCell = 64;

struct SddmmPlan {
  std::uint64_t* masks = nullptr;  ///< [cell_cols, rows] bit j: column 64 t + j of the row is in the pattern
  std::int32_t* starts = nullptr;  ///< [cell_cols, rows] the row's first entry at or past column 64 t
  std::uint8_t* cells = nullptr;   ///< [cell_rows, cell_cols] 1 where the cell holds entries
  std::int64_t cell_rows = 0, cell_cols = 0;
};

inline SddmmPlan sddmm_plan_view(const void* plan, std::int64_t rows, std::int64_t cols) {
  SddmmPlan view;
  view.cell_rows = (rows + kCell - 1) / kCell;
  view.cell_cols = (cols + kCell - 1) / kCell;
  view.masks = static_cast<std::uint64_t*>(const_cast<void*>(plan));
  view.starts = reinterpret_cast<std::int32_t*>(view.masks + view.cell_cols * rows);
  view.cells = reinterpret_cast<std::uint8_t*>(view.starts + view.cell_cols * rows);
  return view;
}

}  // namespace lacuna::kernels
