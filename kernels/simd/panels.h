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

/// Rows [begin, end) of adjacent panels, `slab` columns each (the last may be narrower, zeros up to whole vectors of
/// `lanes`), from `width` columns of a matrix with row stride `ld`. Panels start `panel_size` elements apart.
template <class T>
void pack_panels(const T* from, std::int64_t ld, std::int64_t begin, std::int64_t end, std::int64_t width,
                 std::int64_t slab, std::int64_t lanes, T* panels, std::int64_t panel_size) {
  // Each row lies in a page of its own once `ld` is large: no prefetcher of the hardware follows from row to row.
  constexpr std::int64_t kAhead = 8, kLine = 64 / sizeof(T);
  for (std::int64_t j = begin; j < end; ++j) {
    const T* row = from + j * ld;
    if (j + kAhead < end) {
      for (std::int64_t x = 0; x < width; x += kLine) __builtin_prefetch(row + kAhead * ld + x);
    }
    T* panel = panels;
    for (std::int64_t x = 0; x < width; x += slab, panel += panel_size) {
      constexpr std::int64_t kBlock = 128 / sizeof(T);  // copied by a few vector moves, not by a call
      const std::int64_t columns = width - x < slab ? width - x : slab;
      const std::int64_t padded = (columns + lanes - 1) / lanes * lanes;
      T* to = panel + j * padded;
      std::int64_t y = 0;
      for (; y + kBlock <= columns; y += kBlock) std::memcpy(to + y, row + x + y, kBlock * sizeof(T));
      for (; y < columns; ++y) to[y] = row[x + y];
      for (; y < padded; ++y) to[y] = T(0);
    }
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
