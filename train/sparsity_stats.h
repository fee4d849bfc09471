// Statistics of patterns, on the host: what an update dropped and grew, what was ever active, which rows and columns are
// empty, and how the magnitudes of kept and dropped weights lie. m, k: rows and columns of a weight.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/topology.h"

namespace lacuna {

/// A CSR pattern on the host; or, without offsets, the full matrix.
struct HostPattern {
  std::int64_t rows = 0, cols = 0;
  std::vector<std::int32_t> row_offsets;  ///< [rows + 1], or empty: every entry is present
  std::vector<std::int32_t> col_indices;  ///< [nnz], ascending in each row

  bool is_full() const { return row_offsets.empty(); }
  std::int64_t size() const { return rows * cols; }
  std::int64_t nnz() const { return is_full() ? size() : static_cast<std::int64_t>(col_indices.size()); }
};

/// Copies a pattern's offsets and indices to the host; waits for the device.
HostPattern host_pattern(const Topology& topology);
/// The full [rows, cols].
HostPattern full_pattern(std::int64_t rows, std::int64_t cols);

struct Churn {
  std::int64_t dropped = 0;  ///< entries of the old pattern that the new one lacks
  std::int64_t grown = 0;    ///< the other way round
};
/// Patterns of one shape. Throws ShapeError.
Churn churn(const HostPattern& before, const HostPattern& after);

/// u8 [before.nnz()]: 1 where an entry of `before`, in its order, is also in `after`. Throws ShapeError.
std::vector<std::uint8_t> kept_entries_mask(const HostPattern& before, const HostPattern& after);

struct EmptyLines {
  std::int64_t rows = 0;     ///< outputs that no input reaches: their neuron gives its bias alone
  std::int64_t columns = 0;  ///< inputs that nothing reads
};
EmptyLines empty_lines(const HostPattern& pattern);

/// A set of entries of an [m, k] matrix, one bit each, row-major: which weights have ever been active. Its share of all
/// entries is the in-time over-parameterisation rate R_s of Liu et al. 2021 (arXiv 2102.02887), section 3.
class EntrySet {
 public:
  EntrySet() = default;
  EntrySet(std::int64_t rows, std::int64_t cols);
  /// Adds the entries of a pattern of this shape. Throws ShapeError.
  void add(const HostPattern& pattern);
  std::int64_t count() const { return count_; }
  /// count() / (rows * cols); 0 for an empty matrix.
  double share() const;
  /// The bits as u8 [ceil(rows * cols / 8)], lowest bit first; for checkpoints.
  Tensor to_tensor() const;
  /// Throws CheckpointError unless `bits` is what to_tensor() gives for this shape: its length, and no bit past the end.
  void assign(const Tensor& bits);

 private:
  std::int64_t rows_ = 0, cols_ = 0, count_ = 0;
  std::vector<std::uint8_t> bits_;
};

/// How many weights of each magnitude an update kept and dropped: equal bins from 0 to `high`, the last one holding what
/// is larger, too. `high` is 1.25 times the 99.5th percentile, or the maximum where that is less.
struct MagnitudeHistogram {
  double high = 0;
  std::vector<double> kept, dropped;  ///< counts
  /// The smallest kept magnitude, when no dropped one is larger: the threshold of pruning by magnitude. Absent when nothing
  /// was dropped or kept, and for methods that do not go by one magnitude.
  std::optional<double> threshold;
};

inline constexpr int kHistogramBins = 48;
/// `values` are the weights before the update, `kept` one byte for each. NaN are left out.
MagnitudeHistogram magnitude_histogram(const std::vector<double>& values, const std::vector<std::uint8_t>& kept);

}  // namespace lacuna
