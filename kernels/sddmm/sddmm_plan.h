// The layout of an SDDMM plan, for its maker and its users.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int kCell = 64;    ///< rows and columns of the squares that are known to be empty or not
inline constexpr int kGroup = 256;  ///< columns between the known places of a row in CSR

struct SddmmPlan {
  std::int32_t* starts = nullptr;  ///< [groups, rows] the row's first entry at or past column 256 t
  std::uint8_t* cells = nullptr;   ///< [cell_rows, cell_cols] 1 where the cell holds entries
  std::int64_t groups = 0, cell_rows = 0, cell_cols = 0;
};

inline SddmmPlan sddmm_plan_view(const void* plan, std::int64_t rows, std::int64_t cols) {
  SddmmPlan view;
  view.groups = (cols + kGroup - 1) / kGroup;
  view.cell_rows = (rows + kCell - 1) / kCell;
  view.cell_cols = (cols + kCell - 1) / kCell;
  view.starts = static_cast<std::int32_t*>(const_cast<void*>(plan));
  view.cells = reinterpret_cast<std::uint8_t*>(view.starts + view.groups * rows);
  return view;
}

}  // namespace lacuna::kernels
