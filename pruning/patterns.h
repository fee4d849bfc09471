// Cutting and joining patterns by rows, so that a large one is made tile by tile.
#pragma once

#include <vector>

#include "core/topology.h"

namespace lacuna {

/// Entries of a matrix tile that pruning works on at a time: 4 MiB of f32, whatever the matrix.
inline constexpr std::int64_t kTileEntries = std::int64_t{1} << 20;

/// Rows of a [rows, cols] matrix in one tile of at most `tile_entries`: a multiple of `unit_rows`, at least that.
std::int64_t tile_rows(std::int64_t cols, std::int64_t unit_rows, std::int64_t tile_entries = kTileEntries);

/// A pattern with its offsets on the host, from which row ranges can be cut.
class RowCutter {
 public:
  explicit RowCutter(TopologyPtr pattern);
  /// Rows [begin, end) as a pattern of their own; its columns are a view of the whole's.
  TopologyPtr rows(std::int64_t begin, std::int64_t end) const;

 private:
  TopologyPtr pattern_;
  std::vector<std::int32_t> offsets_;
};

/// The patterns one below the other. All have `cols` columns and one device; at least one.
TopologyPtr stack_rows(const std::vector<TopologyPtr>& parts);

/// The entries of both; they must have none in common. Tile by tile.
TopologyPtr unite(const TopologyPtr& a, const TopologyPtr& b);

/// No entry present.
TopologyPtr empty_pattern(std::int64_t rows, std::int64_t cols, Device device);

/// Dense [rows, cols] with `value` at the pattern's entries, else 0.
Tensor indicator(const TopologyPtr& pattern, double value, DType dtype);

}  // namespace lacuna
