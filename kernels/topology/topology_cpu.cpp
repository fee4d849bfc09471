// Patterns on the CPU. Rows are independent wherever that helps; counting and prefix sums are sequential and cheap.
#include "kernels/topology/topology.h"

#include <algorithm>

#include "kernels/simd/panels.h"

namespace lacuna::kernels {

namespace {

// Turns counts per row (already in offsets[r + 1]) into offsets. The sum is kept in 64 bits, so that a total past
// 2^31 - 1 comes back true although the offsets have wrapped.
std::int64_t prefix_sum(std::int64_t rows, std::int32_t* offsets) {
  std::int64_t total = 0;
  offsets[0] = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    total += offsets[r + 1];
    offsets[r + 1] = static_cast<std::int32_t>(total);
  }
  return total;
}

}  // namespace

std::size_t mask_offsets_scratch_bytes(CpuStream, std::int64_t, std::int64_t) { return 0; }

std::int64_t mask_offsets(CpuStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                          std::int32_t* row_offsets, void*) {
#pragma omp parallel for schedule(static) if (rows * cols >= kLeastParallelWork)
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t count = 0;
    for (std::int64_t c = 0; c < cols; ++c) count += mask[r * cols + c] != 0;
    row_offsets[r + 1] = count;
  }
  return prefix_sum(rows, row_offsets);
}

void mask_columns(CpuStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                  const std::int32_t* row_offsets, std::int32_t* col_indices) {
#pragma omp parallel for schedule(static) if (rows * cols >= kLeastParallelWork)
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t* out = col_indices + row_offsets[r];
    for (std::int64_t c = 0; c < cols; ++c) {
      if (mask[r * cols + c] != 0) *out++ = static_cast<std::int32_t>(c);
    }
  }
}

std::size_t subset_offsets_scratch_bytes(CpuStream, std::int64_t, std::int64_t) { return 0; }

std::int64_t subset_offsets(CpuStream, const std::uint8_t* keep, std::int64_t rows, std::int64_t nnz,
                            const std::int32_t* row_offsets, std::int32_t* new_offsets, void*) {
#pragma omp parallel for schedule(static) if (nnz >= kLeastParallelWork)
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t count = 0;
    for (std::int64_t i = row_offsets[r]; i < row_offsets[r + 1]; ++i) count += keep[i] != 0;
    new_offsets[r + 1] = count;
  }
  return prefix_sum(rows, new_offsets);
}

void subset_columns(CpuStream, const std::uint8_t* keep, std::int64_t rows, const std::int32_t* row_offsets,
                    const std::int32_t* col_indices, const std::int32_t* new_offsets, std::int32_t* new_columns) {
#pragma omp parallel for schedule(static) if (row_offsets[rows] >= kLeastParallelWork)
  for (std::int64_t r = 0; r < rows; ++r) {
    std::int32_t* out = new_columns + new_offsets[r];
    for (std::int64_t i = row_offsets[r]; i < row_offsets[r + 1]; ++i) {
      if (keep[i] != 0) *out++ = col_indices[i];
    }
  }
}

void expand_rows(CpuStream, std::int64_t rows, std::int64_t, const std::int32_t* row_offsets,
                 std::int32_t* row_indices) {
#pragma omp parallel for schedule(static) if (row_offsets[rows] >= kLeastParallelWork)
  for (std::int64_t r = 0; r < rows; ++r) {
    std::fill(row_indices + row_offsets[r], row_indices + row_offsets[r + 1], static_cast<std::int32_t>(r));
  }
}

std::size_t row_order_scratch_bytes(CpuStream, std::int64_t) { return 0; }

void row_order(CpuStream, std::int64_t rows, const std::int32_t* row_offsets, std::int32_t* order, void*) {
  for (std::int64_t r = 0; r < rows; ++r) order[r] = static_cast<std::int32_t>(r);
  std::sort(order, order + rows, [row_offsets](std::int32_t a, std::int32_t b) {
    const std::int32_t length_a = row_offsets[a + 1] - row_offsets[a];
    const std::int32_t length_b = row_offsets[b + 1] - row_offsets[b];
    return length_a != length_b ? length_a > length_b : a < b;
  });
}

void row_shares(CpuStream, std::int64_t rows, std::int64_t cols, int shares, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, std::int32_t* bounds) {
  const std::int64_t share = (cols + shares - 1) / shares;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int32_t *begin = col_indices + row_offsets[r], *end = col_indices + row_offsets[r + 1];
    for (int s = 0; s <= shares; ++s)
      bounds[r * (shares + 1) + s] = static_cast<std::int32_t>(std::lower_bound(begin, end, s * share) - col_indices);
  }
}

std::size_t transpose_scratch_bytes(CpuStream, std::int64_t, std::int64_t cols, std::int64_t) {
  return static_cast<std::size_t>(cols) * sizeof(std::int32_t);
}

void transpose_pattern(CpuStream, std::int64_t rows, std::int64_t cols, std::int64_t nnz,
                       const std::int32_t* row_offsets, const std::int32_t* col_indices, std::int32_t* t_offsets,
                       std::int32_t* t_columns, std::int32_t* permutation, void* scratch) {
  std::fill(t_offsets, t_offsets + cols + 1, 0);
  for (std::int64_t i = 0; i < nnz; ++i) ++t_offsets[col_indices[i] + 1];
  prefix_sum(cols, t_offsets);
  auto* next = static_cast<std::int32_t*>(scratch);  // [cols], where the next entry of each column goes
  std::copy(t_offsets, t_offsets + cols, next);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int32_t i = row_offsets[r]; i < row_offsets[r + 1]; ++i) {
      const std::int32_t to = next[col_indices[i]]++;
      t_columns[to] = static_cast<std::int32_t>(r);
      permutation[to] = i;
    }
  }
}

void map_positions(CpuStream, const Pattern* from, const Pattern& to, std::int32_t* map) {
#pragma omp parallel for schedule(static) if (to.nnz >= kLeastParallelWork)
  for (std::int64_t r = 0; r < to.rows; ++r) {
    std::int64_t j = from ? from->row_offsets[r] : 0;
    for (std::int64_t i = to.row_offsets[r]; i < to.row_offsets[r + 1]; ++i) {
      const std::int32_t column = to.col_indices[i];
      if (!from) {
        map[i] = static_cast<std::int32_t>(r * to.cols + column);
        continue;
      }
      // Both rows ascend, so one pass over each suffices.
      const std::int64_t end = from->row_offsets[r + 1];
      while (j < end && from->col_indices[j] < column) ++j;
      map[i] = j < end && from->col_indices[j] == column ? static_cast<std::int32_t>(j) : -1;
    }
  }
}

template <class T>
void gather_or_zero(CpuStream, const T* values, std::int64_t num_values, const std::int32_t* index,
                    std::int64_t num_index, std::int64_t batch, T* out) {
  for (std::int64_t b = 0; b < batch; ++b) {
    const T* from = values + b * num_values;
    T* to = out + b * num_index;
#pragma omp parallel for schedule(static) if (num_index >= kLeastParallelWork)
    for (std::int64_t i = 0; i < num_index; ++i) to[i] = index[i] < 0 ? T(0) : from[index[i]];
  }
}

template <class T>
void densify(CpuStream, const Csr<const T>& a, const Dense<T>& out) {
#pragma omp parallel for collapse(2) schedule(static) if (a.rows * a.cols * out.batch >= kLeastParallelWork)
  for (std::int64_t b = 0; b < out.batch; ++b) {
    for (std::int64_t r = 0; r < a.rows; ++r) {
      const T* values = a.values + b * a.values_stride;
      T* row = out.data + b * out.batch_stride + r * out.ld;
      std::fill(row, row + a.cols, T(0));
      for (std::int64_t i = a.row_offsets[r]; i < a.row_offsets[r + 1]; ++i) row[a.col_indices[i]] = values[i];
    }
  }
}

template <class T>
void sample(CpuStream, const Dense<const T>& a, const Csr<T>& out) {
#pragma omp parallel for collapse(2) schedule(static) if (out.nnz * out.batch >= kLeastParallelWork)
  for (std::int64_t b = 0; b < out.batch; ++b) {
    for (std::int64_t r = 0; r < out.rows; ++r) {
      T* values = out.values + b * out.values_stride;
      const T* row = a.data + b * a.batch_stride + r * a.ld;
      for (std::int64_t i = out.row_offsets[r]; i < out.row_offsets[r + 1]; ++i) values[i] = row[out.col_indices[i]];
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                         \
  template void gather_or_zero<T>(CpuStream, const T*, std::int64_t, const std::int32_t*, std::int64_t, std::int64_t, \
                                  T*);                                                                                \
  template void densify<T>(CpuStream, const Csr<const T>&, const Dense<T>&);                                          \
  template void sample<T>(CpuStream, const Dense<const T>&, const Csr<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
