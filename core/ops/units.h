// Selection of whole units of a matrix: blocks, or n of each m consecutive columns. For pruning.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// A [rows, cols] matrix cut into units of unit_rows x unit_cols; those at the lower and right edge may be smaller.
struct UnitGrid {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t unit_rows = 1;
  std::int64_t unit_cols = 1;
  std::int64_t grid_rows() const { return (rows + unit_rows - 1) / unit_rows; }
  std::int64_t grid_cols() const { return (cols + unit_cols - 1) / unit_cols; }
  std::int64_t count() const { return grid_rows() * grid_cols(); }
  bool is_entries() const { return unit_rows == 1 && unit_cols == 1; }
};

/// Mean score of each unit: what is stored in it, over all its entries; NaN where nothing is stored.
///   scores   [pattern->nnz()], or [rows * cols] with a null pattern (the full matrix)
///   returns  [grid.count()], row-major
/// Throws ShapeError, DtypeError, DeviceError.
Tensor unit_scores(const Tensor& scores, const TopologyPtr& pattern, const UnitGrid& grid);

/// u8, one byte per stored entry (or per entry of the full matrix): that of its unit in keep, u8 [grid.count()].
Tensor expand_units(const Tensor& keep, const TopologyPtr& pattern, const UnitGrid& grid);

/// u8 like scores: 1 at the n best of each row's group of m consecutive columns, ties to the lower column, NaN last.
///   scores   [pattern->nnz()], or [rows, cols] with a null pattern
Tensor top_n_of_m(const Tensor& scores, const TopologyPtr& pattern, std::int64_t n, std::int64_t m);

}  // namespace lacuna
