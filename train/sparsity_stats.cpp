#include "train/sparsity_stats.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/errors.h"

namespace lacuna {
namespace {

void require_same_shape(const char* op, std::int64_t rows, std::int64_t cols, const HostPattern& b) {
  if (rows != b.rows || cols != b.cols)
    throw ShapeError(op, fmt::format("[{}, {}] and [{}, {}]; shapes must agree", rows, cols, b.rows, b.cols));
}

// The stored columns of one row.
struct Row {
  const std::int32_t* begin;
  const std::int32_t* end;
};
Row row_of(const HostPattern& p, std::int64_t i) {
  const auto at = static_cast<std::size_t>(i);
  return {p.col_indices.data() + p.row_offsets[at], p.col_indices.data() + p.row_offsets[at + 1]};
}

// Entries in both patterns. Indices ascend, so one pass over each pair of rows finds them.
std::int64_t common_entries(const HostPattern& a, const HostPattern& b) {
  if (a.is_full()) return b.nnz();
  if (b.is_full()) return a.nnz();
  std::int64_t common = 0;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    Row x = row_of(a, i), y = row_of(b, i);
    while (x.begin != x.end && y.begin != y.end) {
      const std::int32_t left = *x.begin, right = *y.begin;
      common += left == right;
      x.begin += left <= right;
      y.begin += right <= left;
    }
  }
  return common;
}

}  // namespace

HostPattern host_pattern(const Topology& topology) {
  return {topology.rows(), topology.cols(), topology.row_offsets().to_vector<std::int32_t>(),
          topology.col_indices().to_vector<std::int32_t>()};
}

HostPattern full_pattern(std::int64_t rows, std::int64_t cols) { return {rows, cols, {}, {}}; }

Churn churn(const HostPattern& before, const HostPattern& after) {
  require_same_shape("churn", before.rows, before.cols, after);
  const std::int64_t common = common_entries(before, after);
  return {before.nnz() - common, after.nnz() - common};
}

std::vector<std::uint8_t> kept_entries_mask(const HostPattern& before, const HostPattern& after) {
  require_same_shape("kept_entries_mask", before.rows, before.cols, after);
  std::vector<std::uint8_t> kept(static_cast<std::size_t>(before.nnz()), after.is_full() ? 1 : 0);
  if (after.is_full()) return kept;
  std::size_t entry = 0;
  for (std::int64_t i = 0; i < before.rows; ++i) {
    Row y = row_of(after, i);
    if (before.is_full()) {
      for (; y.begin != y.end; ++y.begin) kept[static_cast<std::size_t>(i * before.cols + *y.begin)] = 1;
      continue;
    }
    for (Row x = row_of(before, i); x.begin != x.end; ++x.begin, ++entry) {
      y.begin = std::lower_bound(y.begin, y.end, *x.begin);
      kept[entry] = y.begin != y.end && *y.begin == *x.begin;
    }
  }
  return kept;
}

EmptyLines empty_lines(const HostPattern& p) {
  // A full matrix has none, but for one without rows or columns.
  if (p.is_full()) return {p.cols == 0 ? p.rows : 0, p.rows == 0 ? p.cols : 0};
  EmptyLines empty;
  for (std::size_t i = 0; i + 1 < p.row_offsets.size(); ++i) empty.rows += p.row_offsets[i] == p.row_offsets[i + 1];
  std::vector<std::uint8_t> used(static_cast<std::size_t>(p.cols), 0);
  for (const std::int32_t column : p.col_indices) used[static_cast<std::size_t>(column)] = 1;
  empty.columns = std::count(used.begin(), used.end(), 0);
  return empty;
}

EntrySet::EntrySet(std::int64_t rows, std::int64_t cols)
    : rows_(rows), cols_(cols), bits_(static_cast<std::size_t>((rows * cols + 7) / 8), 0) {}

void EntrySet::add(const HostPattern& p) {
  require_same_shape("entry_set", rows_, cols_, p);
  const std::int64_t size = rows_ * cols_;
  if (p.is_full()) {
    std::fill(bits_.begin(), bits_.end(), std::uint8_t{0xFF});
    if (size % 8 != 0) bits_.back() = static_cast<std::uint8_t>((1u << (size % 8)) - 1);
    count_ = size;
    return;
  }
  for (std::int64_t i = 0; i < p.rows; ++i) {
    for (Row row = row_of(p, i); row.begin != row.end; ++row.begin) {
      const std::int64_t at = i * cols_ + *row.begin;
      std::uint8_t& byte = bits_[static_cast<std::size_t>(at / 8)];
      const auto bit = static_cast<std::uint8_t>(1u << (at % 8));
      count_ += (byte & bit) == 0;
      byte |= bit;
    }
  }
}

double EntrySet::share() const {
  return rows_ * cols_ == 0 ? 0.0 : static_cast<double>(count_) / static_cast<double>(rows_ * cols_);
}

Tensor EntrySet::to_tensor() const { return Tensor::from(bits_, {static_cast<std::int64_t>(bits_.size())}); }

void EntrySet::assign(const Tensor& bits) {
  const Shape expected{static_cast<std::int64_t>(bits_.size())};
  if (bits.dtype() != DType::u8 || bits.shape() != expected)
    throw CheckpointError("itop", fmt::format("{}; must be u8{}", describe(bits), to_string(expected)));
  std::vector<std::uint8_t> loaded = bits.to_vector<std::uint8_t>();
  const std::int64_t tail = rows_ * cols_ % 8;
  if (tail != 0 && loaded.back() >> tail != 0)
    throw CheckpointError("itop", fmt::format("bits past the {} entries are set; they must be 0", rows_ * cols_));
  bits_ = std::move(loaded);
  count_ = 0;
  for (const std::uint8_t byte : bits_) count_ += std::popcount(byte);
}

MagnitudeHistogram magnitude_histogram(const std::vector<double>& values, const std::vector<std::uint8_t>& kept) {
  if (values.size() != kept.size())
    throw ShapeError("magnitude_histogram",
                     fmt::format("{} values and {} marks; counts must agree", values.size(), kept.size()));
  MagnitudeHistogram histogram{0, std::vector<double>(kHistogramBins, 0), std::vector<double>(kHistogramBins, 0), {}};
  std::vector<double> sizes;
  sizes.reserve(values.size());
  double smallest_kept = INFINITY, largest_dropped = -INFINITY;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double size = std::abs(values[i]);
    if (std::isnan(size)) continue;
    sizes.push_back(size);
    if (kept[i])
      smallest_kept = std::min(smallest_kept, size);
    else
      largest_dropped = std::max(largest_dropped, size);
  }
  if (sizes.empty()) return histogram;
  // A few outliers must not squeeze everything else into the first bins.
  const auto percentile = sizes.begin() + static_cast<std::ptrdiff_t>((sizes.size() - 1) * 995 / 1000);
  std::nth_element(sizes.begin(), percentile, sizes.end());
  histogram.high = std::min(1.25 * *percentile, *std::max_element(percentile, sizes.end()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double size = std::abs(values[i]);
    if (std::isnan(size)) continue;
    const double place = histogram.high > 0 ? size / histogram.high * kHistogramBins : 0;
    const auto bin = static_cast<std::size_t>(std::min(place, kHistogramBins - 1.0));
    ++(kept[i] ? histogram.kept : histogram.dropped)[bin];
  }
  if (std::isfinite(smallest_kept) && largest_dropped >= 0 && largest_dropped <= smallest_kept)
    histogram.threshold = smallest_kept;
  return histogram;
}

}  // namespace lacuna
