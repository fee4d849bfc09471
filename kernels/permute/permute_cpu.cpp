// Block transposes on the CPU: square tiles, so that both sides touch whole cache lines while they are in L1.
#include <algorithm>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/permute/permute.h"

namespace lacuna::kernels {

template <class T>
void transpose_blocks(CpuStream, const BlockGrid& grid, const T* x, const BlockLayout& x_layout, T* y,
                      const BlockLayout& y_layout, const wide_t<T>* row_bias) {
  constexpr std::int64_t kTile = 16;
  const std::int64_t bands = (grid.rows + kTile - 1) / kTile;
#pragma omp parallel for schedule(static) if (worth_threads(grid.outer * grid.inner * grid.rows * grid.cols))
  for (std::int64_t work = 0; work < grid.outer * grid.inner * bands; ++work) {
    const std::int64_t block = work / bands;
    const std::int64_t outer = block / grid.inner;
    const std::int64_t inner = block % grid.inner;
    const T* in = x + outer * x_layout.outer_stride + inner * x_layout.inner_stride;
    T* out = y + outer * y_layout.outer_stride + inner * y_layout.inner_stride;
    const std::int64_t row_begin = work % bands * kTile;
    const std::int64_t row_end = std::min(row_begin + kTile, grid.rows);
    for (std::int64_t col_begin = 0; col_begin < grid.cols; col_begin += kTile) {
      const std::int64_t col_end = std::min(col_begin + kTile, grid.cols);
      for (std::int64_t c = col_begin; c < col_end; ++c)
        for (std::int64_t r = row_begin; r < row_end; ++r) out[c * y_layout.ld + r] = in[r * x_layout.ld + c];
      if (row_bias == nullptr) continue;
      for (std::int64_t c = col_begin; c < col_end; ++c)
        for (std::int64_t r = row_begin; r < row_end; ++r) {
          T& value = out[c * y_layout.ld + r];
          value = static_cast<T>(static_cast<wide_t<T>>(value) + row_bias[outer * grid.rows + r]);
        }
    }
  }
}

template <class T>
void copy_matrix(CpuStream, const Dense<const T>& x, const Dense<T>& y) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t r = 0; r < x.rows; ++r) std::copy_n(x.data + r * x.ld, x.cols, y.data + r * y.ld);
}

#define LACUNA_INSTANTIATE(T)                                                                          \
  template void transpose_blocks<T>(CpuStream, const BlockGrid&, const T*, const BlockLayout&, T*,     \
                                    const BlockLayout&, const wide_t<T>*);                             \
  template void copy_matrix<T>(CpuStream, const Dense<const T>&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
