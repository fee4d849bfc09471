// The inner loop of SpMM on the CPU: one row of C, as wide as a slab, stays in registers while the row's entries pass.
// Compiled once per instruction set; see kernels/simd/simd.h for what it may use.
#pragma once

#include "kernels/simd/simd.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels::LACUNA_ISA {

template <class T, int V>
void spmm_rows_of(const SpmmTask<T>& t) {
  using Vector = typename Simd<T>::Vector;
  constexpr int L = Simd<T>::kLanes;
  // Eight accumulators hide the latency of a multiply-add: entries take turns between independent chains of sums.
  constexpr int kChains = V <= 2 ? 4 : 2;
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r) {
    Vector sum[kChains][V] = {};
    std::int64_t i = t.row_offsets[r];
    const std::int64_t end = t.row_offsets[r + 1];
    for (; i + kChains <= end; i += kChains) {
      for (int chain = 0; chain < kChains; ++chain) {
        const Vector value = broadcast<T>(t.values[i + chain]);
        const T* b = t.slab + t.col_indices[i + chain] * t.slab_stride;
        for (int v = 0; v < V; ++v) sum[chain][v] = Simd<T>::multiply_add(value, load<T>(b + v * L), sum[chain][v]);
      }
    }
    for (; i < end; ++i) {
      const Vector value = broadcast<T>(t.values[i]);
      const T* b = t.slab + t.col_indices[i] * t.slab_stride;
      for (int v = 0; v < V; ++v) sum[0][v] = Simd<T>::multiply_add(value, load<T>(b + v * L), sum[0][v]);
    }
    const Vector bias = broadcast<T>(t.bias ? t.bias[r] : T(0));
    const Vector zero = {};
    T* c = t.c + r * t.ldc;
    T tail[V * L];
    T* out = t.width == V * L ? c : tail;
    for (int v = 0; v < V; ++v) {
      Vector x = sum[0][v];
      for (int chain = 1; chain < kChains; ++chain) x += sum[chain][v];
      if (t.bias) x += bias;
      if (t.relu) x = x < zero ? zero : x;  // a NaN stays
      store<T>(out + v * L, x);
    }
    if (out == tail) {
      for (std::int64_t j = 0; j < t.width; ++j) c[j] = tail[j];
    }
  }
}

template <class T>
void spmm_rows(const SpmmTask<T>& task) {
  switch (task.vectors) {
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

template void spmm_rows<float>(const SpmmTask<float>&);
template void spmm_rows<double>(const SpmmTask<double>&);

}  // namespace lacuna::kernels::LACUNA_ISA
