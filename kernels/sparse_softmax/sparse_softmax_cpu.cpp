// Sparse softmax on the CPU, one row at a time; sums in double.
#include "kernels/sparse_softmax/sparse_softmax.h"

#include <cmath>
#include <limits>

#include "kernels/simd/panels.h"

namespace lacuna::kernels {

template <class T>
void sparse_softmax(CpuStream, const Csr<const T>& s, T scale, T* p) {
#pragma omp parallel for collapse(2) schedule(dynamic, 32) if (s.nnz * s.batch >= kLeastParallelWork / 8)
  for (std::int64_t b = 0; b < s.batch; ++b) {
    for (std::int64_t r = 0; r < s.rows; ++r) {
      const T* in = s.values + b * s.values_stride;
      T* out = p + b * s.values_stride;
      const std::int64_t begin = s.row_offsets[r], end = s.row_offsets[r + 1];
      T largest = -std::numeric_limits<T>::infinity();
      for (std::int64_t i = begin; i < end; ++i) {
        const T x = scale * in[i];
        if (x > largest) largest = x;  // a NaN is passed over here and reaches the whole row through the sum
      }
      double sum = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        out[i] = std::exp(scale * in[i] - largest);
        sum += static_cast<double>(out[i]);
      }
      const T inverse = static_cast<T>(1.0 / sum);
      for (std::int64_t i = begin; i < end; ++i) out[i] *= inverse;
    }
  }
}

template <class T>
void sparse_softmax_backward(CpuStream, const Csr<const T>& p, const T* dp, T scale, T* ds) {
#pragma omp parallel for collapse(2) schedule(dynamic, 32) if (p.nnz * p.batch >= kLeastParallelWork / 8)
  for (std::int64_t b = 0; b < p.batch; ++b) {
    for (std::int64_t r = 0; r < p.rows; ++r) {
      const T* probability = p.values + b * p.values_stride;
      const T* in = dp + b * p.values_stride;
      T* out = ds + b * p.values_stride;
      const std::int64_t begin = p.row_offsets[r], end = p.row_offsets[r + 1];
      double dot = 0;
      for (std::int64_t i = begin; i < end; ++i)
        dot += static_cast<double>(probability[i]) * static_cast<double>(in[i]);
      for (std::int64_t i = begin; i < end; ++i) {
        out[i] = static_cast<T>(static_cast<double>(scale) * static_cast<double>(probability[i]) *
                                (static_cast<double>(in[i]) - dot));
      }
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                             \
  template void sparse_softmax<T>(CpuStream, const Csr<const T>&, T, T*); \
  template void sparse_softmax_backward<T>(CpuStream, const Csr<const T>&, const T*, T, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
