// Transposes of a grid of blocks inside matrices: what splitting and merging attention heads comes down to; and copies
// of a range of columns.
#pragma once

#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Where block (outer, inner) of a matrix starts, and how far apart its rows are, in elements.
struct BlockLayout {
  std::int64_t ld = 0;
  std::int64_t outer_stride = 0;
  std::int64_t inner_stride = 0;
};

/// `outer` * `inner` blocks, each of them rows x cols in the source and cols x rows in the result.
struct BlockGrid {
  std::int64_t outer = 1;
  std::int64_t inner = 1;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

/// y(o, i)[c, r] = x(o, i)[r, c], plus row_bias[o * rows + r] where there is one [outer * rows]; y is overwritten, x
/// and y do not overlap.
template <class T>
void transpose_blocks(CpuStream, const BlockGrid& grid, const T* x, const BlockLayout& x_layout, T* y,
                      const BlockLayout& y_layout, const wide_t<T>* row_bias = nullptr);
template <class T>
void transpose_blocks(CudaStream, const BlockGrid& grid, const T* x, const BlockLayout& x_layout, T* y,
                      const BlockLayout& y_layout, const wide_t<T>* row_bias = nullptr);

/// y = x, two matrices of one shape with rows x.ld and y.ld apart.
template <class T>
void copy_matrix(CpuStream, const Dense<const T>& x, const Dense<T>& y);
template <class T>
void copy_matrix(CudaStream, const Dense<const T>& x, const Dense<T>& y);

}  // namespace lacuna::kernels
