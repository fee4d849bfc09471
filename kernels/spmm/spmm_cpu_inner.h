// The inner loops of SpMM on the CPU: one row of C, as wide as a slab, stays in registers while the row's entries pass.
// Compiled once per instruction set; see kernels/simd/simd.h for what it may use.
#pragma once

#include "kernels/simd/simd.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels::LACUNA_ISA {

/// Sums of one row. Eight of them hide the latency of a multiply-add: entries take turns between independent chains.
template <class T, int V>
struct RowSums {
  using Vector = typename Simd<T>::Vector;
  static constexpr int L = Simd<T>::kLanes;
  static constexpr int kChains = V <= 2 ? 4 : 2;
  Vector sum[kChains][V] = {};

  template <int chain>
  inline __attribute__((always_inline)) void add(Vector value, const T* b) {
    for (int v = 0; v < V; ++v) sum[chain][v] = Simd<T>::multiply_add(value, load<T>(b + v * L), sum[chain][v]);
  }
  /// Four entries. Beside the multiply-adds' own, two or three loads: those are what the loop is short of.
  inline __attribute__((always_inline)) void add_four(const T* values, const T* b0, const T* b1, const T* b2,
                                                      const T* b3) {
    const Four<T> four(values);
    add<0>(four.template spread<0>(), b0);
    add<1>(four.template spread<1>(), b1);
    add<2 % kChains>(four.template spread<2>(), b2);
    add<3 % kChains>(four.template spread<3>(), b3);
  }
  inline __attribute__((always_inline)) Vector total(int v) const {
    Vector x = sum[0][v];
    for (int chain = 1; chain < kChains; ++chain) x += sum[chain][v];
    return x;
  }
  inline __attribute__((always_inline)) void store_row(const SpmmOutput<T>& out, std::int64_t r) const {
    T* c = out.c + r * out.ldc;
    if (out.width == V * L && !out.bias && !out.relu) {
      for (int v = 0; v < V; ++v) store<T>(c + v * L, total(v));
      return;
    }
    const Vector bias = broadcast<T>(out.bias ? out.bias[r] : T(0));
    const Vector zero = {};
    T tail[V * L];
    T* to = out.width == V * L ? c : tail;
    for (int v = 0; v < V; ++v) {
      Vector x = total(v);
      if (out.bias) x += bias;
      if (out.relu) x = x < zero ? zero : x;  // a NaN stays
      store<T>(to + v * L, x);
    }
    if (to == tail) {
      for (std::int64_t j = 0; j < out.width; ++j) c[j] = tail[j];
    }
  }
};

/// The lines of C's row r, soon to be written: a row of C lies in a page of its own.
template <class T, int V>
inline __attribute__((always_inline)) void expect_row(const SpmmOutput<T>& out, std::int64_t r) {
  constexpr int kLine = 64 / sizeof(T);
  const T* c = out.c + r * out.ldc;
  for (int x = 0; x < V * Simd<T>::kLanes; x += kLine) {
    if (x < out.width) __builtin_prefetch(c + x, 1);
  }
}
inline constexpr int kRowsAhead = 4;

template <class T, int V>
void spmm_rows_of(const SpmmTask<T>& task) {
  constexpr std::int64_t kStride = V * Simd<T>::kLanes;
  const SpmmTask<T> t = task;  // a copy, which no store can change
  const T* values = t.values;
  const std::int32_t* columns = t.col_indices;
  const T* slab = t.slab;
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r) {
    if (r + kRowsAhead < t.row_end) expect_row<T, V>(t.out, r + kRowsAhead);
    RowSums<T, V> sums;
    std::int64_t i = t.row_offsets[r];
    const std::int64_t end = t.row_offsets[r + 1];
    for (; i + 4 <= end; i += 4) {
      std::uint64_t col[4];
      four_of(columns + i, col);
      sums.add_four(values + i, slab + col[0] * kStride, slab + col[1] * kStride, slab + col[2] * kStride,
                    slab + col[3] * kStride);
    }
    for (; i < end; ++i) sums.template add<0>(broadcast<T>(values[i]), slab + columns[i] * kStride);
    sums.store_row(t.out, r);
  }
}

template <class T, int V>
void spmm_piece_of(const SpmmPieceTask<T>& task) {
  const SpmmPieceTask<T> t = task;
  constexpr std::int64_t L = Simd<T>::kLanes, kStride = V * L;
  const T* values = t.values;
  const std::uint16_t* rows = t.rows;
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r) {
    if (t.last && r + kRowsAhead < t.row_end) expect_row<T, V>(t.out, r + kRowsAhead);
    RowSums<T, V> sums;
    T* kept = t.sums + (r - t.row_begin) * kStride;
    if (!t.first) {
      for (int v = 0; v < V; ++v) sums.sum[0][v] = load<T>(kept + v * L);
    }
    const int groups = t.groups[r - t.row_begin];
    for (int g = 0; g < groups; ++g, values += 4, rows += 4) {
      std::uint64_t row[4];
      four_of(rows, row);
      sums.add_four(values, t.panel + row[0] * kStride, t.panel + row[1] * kStride, t.panel + row[2] * kStride,
                    t.panel + row[3] * kStride);
    }
    if (t.last) {
      sums.store_row(t.out, r);
    } else {
      for (int v = 0; v < V; ++v) store<T>(kept + v * L, sums.total(v));
    }
  }
}

template <class T>
void spmm_cut(const SpmmCutTask<T>& t) {
  const std::int64_t rows = t.row_end - t.row_begin;
  for (std::int64_t r = 0; r < rows; ++r) t.cursor[r] = t.row_offsets[t.row_begin + r];
  std::int64_t at = 0;
  for (std::int64_t p = 0; p < t.pieces; ++p) {
    t.starts[p] = at;
    const std::int32_t base = static_cast<std::int32_t>(p * t.piece);
    const std::int64_t behind = (p + 1) * t.piece;
    const std::int32_t bound = behind > 0x7fffffff ? 0x7fffffff : static_cast<std::int32_t>(behind);
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t begin = t.cursor[r], row_end = t.row_offsets[t.row_begin + r + 1];
      std::int64_t end = begin;
      bool inside = true;
      while (inside && end + 8 <= row_end) {  // columns ascend
        int count = 0;
        for (int x = 0; x < 8; ++x) count += t.col_indices[end + x] < bound ? 1 : 0;
        end += count;
        inside = count == 8;
      }
      while (inside && end < row_end && t.col_indices[end] < bound) ++end;
      t.cursor[r] = static_cast<std::int32_t>(end);
      const std::int64_t count = end - begin, padded = (count + 3) / 4 * 4;
      for (std::int64_t x = 0; x < count; ++x) t.packed_values[at + x] = t.values[begin + x];
      for (std::int64_t x = 0; x < count; ++x)
        t.packed_rows[at + x] = static_cast<std::uint16_t>(t.col_indices[begin + x] - base);
      for (std::int64_t x = count; x < padded; ++x) {
        t.packed_values[at + x] = T(0);
        t.packed_rows[at + x] = static_cast<std::uint16_t>(t.piece);
      }
      t.groups[p * rows + r] = static_cast<std::uint16_t>(padded / 4);
      at += padded;
    }
  }
}

template <class T>
void spmm_rows(const SpmmTask<T>& task) {
  switch (task.out.vectors) {
    case 1:
      return spmm_rows_of<T, 1>(task);
    case 2:
      return spmm_rows_of<T, 2>(task);
    case 3:
      return spmm_rows_of<T, 3>(task);
    default:
      return spmm_rows_of<T, kSlabVectors>(task);
  }
}

template <class T>
void spmm_piece(const SpmmPieceTask<T>& task) {
  switch (task.out.vectors) {
    case 1:
      return spmm_piece_of<T, 1>(task);
    case 2:
      return spmm_piece_of<T, 2>(task);
    case 3:
      return spmm_piece_of<T, 3>(task);
    default:
      return spmm_piece_of<T, kSlabVectors>(task);
  }
}

#define LACUNA_INSTANTIATE(T)                       \
  template void spmm_rows<T>(const SpmmTask<T>&);   \
  template void spmm_cut<T>(const SpmmCutTask<T>&); \
  template void spmm_piece<T>(const SpmmPieceTask<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels::LACUNA_ISA
