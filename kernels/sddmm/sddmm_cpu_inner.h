// The inner loop of SDDMM on the CPU: a piece of a row of A stays in registers and meets the same piece of those rows
// of B that the pattern names, four at a time. Compiled once per instruction set; see kernels/simd/simd.h.
#pragma once

#include "kernels/sddmm/sddmm_cpu_tasks.h"
#include "kernels/simd/simd.h"

namespace lacuna::kernels::LACUNA_ISA {

template <class T, int V>
void sddmm_rows_of(const SddmmTask<T>& t) {
  using Vector = typename Simd<T>::Vector;
  constexpr int L = Simd<T>::kLanes;
  constexpr int kTogether = 4;  // entries whose lanes are summed at once
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r) {
    const std::int64_t begin = t.row_offsets[r], end = t.row_offsets[r + 1];
    if (begin == end) continue;
    const T* row = t.a + r * t.lda;
    T padded[V * L];
    if (t.width != V * L) {
      for (int x = 0; x < V * L; ++x) padded[x] = x < t.width ? row[x] : T(0);
      row = padded;
    }
    Vector a[V];
    for (int v = 0; v < V; ++v) a[v] = load<T>(row + v * L);
    for (std::int64_t i = begin; i < end; i += kTogether) {
      const int count = end - i < kTogether ? static_cast<int>(end - i) : kTogether;
      Vector sum[kTogether];
      for (int e = 0; e < kTogether; ++e) {
        // Past the row's end the last entry is computed again and dropped: same order of sums wherever an entry stands.
        const T* b = t.panel + t.col_indices[i + (e < count ? e : count - 1)] * t.panel_stride;
        sum[e] = a[0] * load<T>(b);
        for (int v = 1; v < V; ++v) sum[e] = Simd<T>::multiply_add(a[v], load<T>(b + v * L), sum[e]);
      }
      T dot[kTogether];
      sum_lanes_of_four<T>(sum, dot);
      for (int e = 0; e < count; ++e) {
        T* value = t.values + i + e;
        *value = t.factor * (t.first ? dot[e] : *value + dot[e]);
      }
    }
  }
}

template <class T>
void sddmm_rows(const SddmmTask<T>& task) {
  switch (task.vectors) {
    case 1:
      return sddmm_rows_of<T, 1>(task);
    case 2:
      return sddmm_rows_of<T, 2>(task);
    case 3:
      return sddmm_rows_of<T, 3>(task);
    case 4:
      return sddmm_rows_of<T, 4>(task);
    case 5:
      return sddmm_rows_of<T, 5>(task);
    case 6:
      return sddmm_rows_of<T, 6>(task);
    case 7:
      return sddmm_rows_of<T, 7>(task);
    default:
      return sddmm_rows_of<T, kChunkVectors>(task);
  }
}

template void sddmm_rows<float>(const SddmmTask<float>&);
template void sddmm_rows<double>(const SddmmTask<double>&);

}  // namespace lacuna::kernels::LACUNA_ISA
