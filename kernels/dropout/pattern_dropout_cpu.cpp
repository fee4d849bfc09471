#include "kernels/dropout/pattern_dropout.h"

namespace lacuna::kernels {

template <class T>
void pattern_dropout(CpuStream, const Csr<const T>& x, T* y, double p, std::uint64_t seed, RandomSequence sequence,
                     std::int64_t first_matrix) {
  const T keep_scale = static_cast<T>(1 / (1 - p));
  const std::uint32_t threshold = dropout_threshold(p);
#pragma omp parallel for schedule(static) if (x.batch * x.nnz >= (1 << 14))
  for (std::int64_t i = 0; i < x.batch * x.rows; ++i) {
    const std::int64_t r = i % x.rows, at = i / x.rows * x.values_stride;
    const RowKey key = dropout_row_key(seed, sequence, first_matrix + i / x.rows, x.rows, r);
    for (std::int64_t e = x.row_offsets[r]; e < x.row_offsets[r + 1]; ++e) {
      const std::uint32_t column = static_cast<std::uint32_t>(x.col_indices[e]);
      const bool dropped = is_dropped(key, dropout_column_word(column), threshold);
      y[at + e] = dropped ? T(0) : x.values[at + e] * keep_scale;
    }
  }
}

template void pattern_dropout<float>(CpuStream, const Csr<const float>&, float*, double, std::uint64_t, RandomSequence,
                                     std::int64_t);
template void pattern_dropout<double>(CpuStream, const Csr<const double>&, double*, double, std::uint64_t,
                                      RandomSequence, std::int64_t);

}  // namespace lacuna::kernels
