// The inner loops of SDDMM on the CPU: a chunk of a row of A stays in registers and meets the same chunk of those rows
// of B that the pattern names, four at a time. Compiled once per instruction set; see kernels/simd/simd.h.
#pragma once

#include "kernels/sddmm/sddmm_cpu_tasks.h"
#include "kernels/simd/simd.h"

namespace lacuna::kernels::LACUNA_ISA {

/// Lanes of the product of a chunk in registers with one in memory. Two chains of multiply-adds, half as long as one:
/// the scheduler holds too few operations to overlap enough of the long ones.
template <class T, int V>
inline __attribute__((always_inline)) typename Simd<T>::Vector multiply_chunk(const typename Simd<T>::Vector* a,
                                                                              const T* b) {
  constexpr int L = Simd<T>::kLanes, kHalf = V / 2;
  typename Simd<T>::Vector high = a[kHalf] * load<T>(b + kHalf * L);
  for (int v = kHalf + 1; v < V; ++v) high = Simd<T>::multiply_add(a[v], load<T>(b + v * L), high);
  if constexpr (kHalf > 0) {
    typename Simd<T>::Vector low = a[0] * load<T>(b);
    for (int v = 1; v < kHalf; ++v) low = Simd<T>::multiply_add(a[v], load<T>(b + v * L), low);
    high += low;
  }
  return high;
}

template <class T, int V>
void sddmm_rows_of(const SddmmTask<T>& task) {
  using Vector = typename Simd<T>::Vector;
  constexpr int L = Simd<T>::kLanes, kLine = 64 / sizeof(T);
  constexpr std::int64_t kRowsAhead = 4;
  const SddmmTask<T> t = task;  // a copy, which no store can change
  constexpr int kTogether = 4;  // entries whose lanes are summed at once
  for (std::int64_t r = t.row_begin; r < t.row_end; ++r) {
    const std::int64_t begin = t.row_offsets[r], end = t.row_offsets[r + 1];
    if (r + kRowsAhead < t.row_end) {  // each row of A lies in a page of its own
      for (int x = 0; x < V * L; x += kLine) {
        if (x < t.width) __builtin_prefetch(t.a + (r + kRowsAhead) * t.lda + x);
      }
    }
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
        const T* b = t.panel + t.col_indices[i + (e < count ? e : count - 1)] * std::int64_t{V * L};
        sum[e] = multiply_chunk<T, V>(a, b);
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

template <class T, int V>
void sddmm_piece_of(const SddmmPieceTask<T>& task) {
  using Vector = typename Simd<T>::Vector;
  typedef T FourSums __attribute__((vector_size(4 * sizeof(T)), aligned(sizeof(T)), may_alias));
  constexpr int L = Simd<T>::kLanes;
  const SddmmPieceTask<T> t = task;  // a copy, which no store can change
  const std::uint16_t* rows = t.rows;
  T* sums = t.sums;
  for (std::int64_t r = 0; r < t.num_rows; ++r) {
    const int groups = (t.counts[r] + 3) / 4;
    Vector a[V];
    for (int v = 0; v < V; ++v) a[v] = load<T>(t.a + (r * V + v) * L);
    for (int g = 0; g < groups; ++g, rows += 4, sums += 4) {
      std::uint64_t row[4];
      four_of(rows, row);
      Vector sum[4];
      for (int e = 0; e < 4; ++e) sum[e] = multiply_chunk<T, V>(a, t.panel + row[e] * (V * L));
      T dot[4];
      sum_lanes_of_four<T>(sum, dot);
      FourSums x = *reinterpret_cast<const FourSums*>(dot);
      if (!t.first) x = *reinterpret_cast<const FourSums*>(sums) + x;
      *reinterpret_cast<FourSums*>(sums) = x;
    }
  }
}

/// Calls f with `vectors` as a constant.
template <class F>
void with_vectors(int vectors, F f) {
  switch (vectors) {
    case 1:
      return f.template operator()<1>();
    case 2:
      return f.template operator()<2>();
    case 3:
      return f.template operator()<3>();
    case 4:
      return f.template operator()<4>();
    case 5:
      return f.template operator()<5>();
    case 6:
      return f.template operator()<6>();
    case 7:
      return f.template operator()<7>();
    default:
      return f.template operator()<kChunkVectors>();
  }
}

template <class T>
void sddmm_rows(const SddmmTask<T>& task) {
  with_vectors(task.vectors, [&]<int V>() { sddmm_rows_of<T, V>(task); });
}
template <class T>
void sddmm_piece(const SddmmPieceTask<T>& task) {
  with_vectors(task.vectors, [&]<int V>() { sddmm_piece_of<T, V>(task); });
}

template void sddmm_rows<float>(const SddmmTask<float>&);
template void sddmm_rows<double>(const SddmmTask<double>&);
template void sddmm_piece<float>(const SddmmPieceTask<float>&);
template void sddmm_piece<double>(const SddmmPieceTask<double>&);

}  // namespace lacuna::kernels::LACUNA_ISA
