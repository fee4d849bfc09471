// What one unit, entry or group takes: plain loops that the CPU and the CUDA kernels share, so that both give equal bits.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "kernels/topology/topology.h"

#ifdef __CUDACC__
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

namespace lacuna::kernels {

/// The first entry of row r whose column is at least `column` (the end of the row when there is none).
LACUNA_HOST_DEVICE inline std::int64_t entry_at(const Pattern& p, std::int64_t r, std::int64_t column) {
  if (!p.row_offsets) return r * p.cols + (column < p.cols ? column : p.cols);
  std::int64_t low = p.row_offsets[r], high = p.row_offsets[r + 1];
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (p.col_indices[middle] < column)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// Column of entry i of row r.
LACUNA_HOST_DEVICE inline std::int64_t column_of(const Pattern& p, std::int64_t r, std::int64_t i) {
  return p.row_offsets ? p.col_indices[i] : i - r * p.cols;
}

template <class T>
LACUNA_HOST_DEVICE T unit_score(const Pattern& p, const T* scores, std::int64_t unit_rows, std::int64_t unit_cols,
                                std::int64_t unit) {
  const std::int64_t grid_cols = (p.cols + unit_cols - 1) / unit_cols;
  const std::int64_t row = unit / grid_cols * unit_rows, column = unit % grid_cols * unit_cols;
  const std::int64_t row_end = row + unit_rows < p.rows ? row + unit_rows : p.rows;
  const std::int64_t column_end = column + unit_cols < p.cols ? column + unit_cols : p.cols;
  T sum = 0;
  bool stored = false;
  for (std::int64_t r = row; r < row_end; ++r) {
    const std::int64_t end = entry_at(p, r, column_end);
    for (std::int64_t i = entry_at(p, r, column); i < end; ++i) {
      sum += scores[i];
      stored = true;
    }
  }
  return stored ? sum / static_cast<T>((row_end - row) * (column_end - column)) : std::numeric_limits<T>::quiet_NaN();
}

/// Group g of row r: columns g m to (g + 1) m - 1. Groups are short: each entry's rank is counted.
template <class T>
LACUNA_HOST_DEVICE void keep_top_n(const Pattern& p, const T* scores, std::int64_t n, std::int64_t m, std::int64_t r,
                                   std::int64_t group, std::uint8_t* keep) {
  const std::int64_t begin = entry_at(p, r, group * m), end = entry_at(p, r, (group + 1) * m);
  for (std::int64_t i = begin; i < end; ++i) {
    const T x = scores[i];
    const bool x_nan = x != x;
    std::int64_t better = 0;
    for (std::int64_t j = begin; j < end; ++j) {
      const T y = scores[j];
      const bool y_nan = y != y;
      const bool above = x_nan ? !y_nan : y > x;
      const bool equal = x_nan ? y_nan : y == x;
      better += above || (equal && j < i);
    }
    keep[i] = better < n;
  }
}

}  // namespace lacuna::kernels
