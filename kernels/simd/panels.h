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
  // Each row lies in a page of its own once `ld` is large: no prefetcher of the hardware follows from row to row.
  constexpr std::int64_t kAhead = 8, kLine = 64 / sizeof(T);
  constexpr std::int64_t kBlock = 128 / sizeof(T);  // copied by a few vector moves, not by a call
  for (std::int64_t j = begin; j < end; ++j) {
    const T* row = from + j * ld;
    if (j + kAhead < end) {
      for (std::int64_t x = 0; x < width; x += kLine) __builtin_prefetch(row + kAhead * ld + x);
    }
    T* to = panel + j * padded;
    std::int64_t x = 0;
    for (; x + kBlock <= width; x += kBlock) std::memcpy(to + x, row + x, kBlock * sizeof(T));
    for (; x < width; ++x) to[x] = row[x];
    for (; x < padded; ++x) to[x] = T(0);
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
