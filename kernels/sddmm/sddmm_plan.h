// The layout of an SDDMM plan, for its maker and its users.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int kCell = 64;

struct SddmmPlan {
  const std::int32_t* segments = nullptr;  ///< [cell_cols + 1, rows] first entry of each row at or past column 64 t
  const std::uint8_t* cells = nullptr;     ///< [cell_rows, cell_cols] 1 where the cell holds entries
  std::int64_t cell_rows = 0, cell_cols = 0;
};

inline SddmmPlan sddmm_plan_view(const void* plan, std::int64_t rows, std::int64_t cols) {
  SddmmPlan view;
  view.cell_rows = (rows + kCell - 1) / kCell;
  view.cell_cols = (cols + kCell - 1) / kCell;
  view.segments = static_cast<const std::int32_t*>(plan);
  view.cells = reinterpret_cast<const std::uint8_t*>(view.segments + (view.cell_cols + 1) * rows);
  return view;
}

}  // namespace lacuna::kernels
