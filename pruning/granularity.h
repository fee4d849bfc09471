// Granularity: what is kept or removed together.
#pragma once

#include <cstdint>

#include "core/ops/units.h"
#include "core/parameter.h"
#include "pruning/pruning_config.h"

namespace lacuna {

/// Counts of a layer are in units: blocks of unit_rows x unit_cols entries (a unit_cols of 0 is the whole row), or, for
/// n_m, entries kept of each m consecutive columns. Blocks at the lower and right edge are cut off where the size does
/// not divide; each counts as one unit, so nnz is then what the kept units hold.
struct Granularity {
  std::int64_t unit_rows = 1;
  std::int64_t unit_cols = 1;
  std::int64_t n = 0;  ///< n_m: entries kept of each m; 0 for blocks
  std::int64_t m = 0;

  bool is_n_m() const { return m > 0; }
  UnitGrid grid(const Shape& shape) const;
  /// All units of a matrix of this shape; for n_m: m.
  std::int64_t num_units(const Shape& shape) const { return is_n_m() ? m : grid(shape).count(); }
  /// Units left at a sparsity: round((1 - s) num_units); for n_m at least n.
  std::int64_t kept_units(double sparsity, const Shape& shape) const;
  /// Units with a stored entry; m for n_m, whose groups keep all they hold when that is fewer.
  std::int64_t stored_units(const Parameter& p) const;
};

Granularity granularity_of(const PruningConfig& config);

}  // namespace lacuna
