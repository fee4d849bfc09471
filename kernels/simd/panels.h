// Cutting CPU work on a sparse matrix: packed panels of the dense operand, and chunks of rows of equal work.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/common/parallel.h"

namespace lacuna::kernels {

/// Rows [begin, end) of a panel: `width` columns of a matrix with row stride `ld`, then zeros up to `padded` columns.
template <class T>
void pack_panel(const T* from, std::int64_t ld, std::int64_t begin, std::int64_t end, std::int64_t width,
                std::int64_t padded, T* panel) {
  for (std::int64_t j = begin; j < end; ++j) {
    std::memcpy(panel + j * padded, from + j * ld, static_cast<std::size_t>(width) * sizeof(T));
    for (std::int64_t x = width; x < padded; ++x) panel[j * padded + x] = T(0);
  }
}

/// First row of chunk `part` of `parts`, so that each has about the same work: its entries, and a little for each row.
inline std::int64_t chunk_begin(const std::int32_t* row_offsets, std::int64_t rows, std::int64_t part,
                                std::int64_t parts) {
  if (part >= parts) return rows;
  const std::int64_t target = (row_offsets[rows] + 4 * rows) * part / parts;
  std::int64_t low = 0, high = rows;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (row_offsets[middle] + 4 * middle < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace lacuna::kernels
