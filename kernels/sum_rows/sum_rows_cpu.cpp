// A thread takes neighbouring columns and walks down all rows.
#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/sum_rows/sum_rows.h"

namespace lacuna::kernels {

template <class T>
std::size_t sum_rows_scratch_bytes(CpuStream, std::int64_t, std::int64_t) {
  return 0;
}

template <class T>
void sum_rows(CpuStream, const Dense<const T>& x, acc_t<T>* out, void*) {
  constexpr std::int64_t kColumns = 64;
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t first = 0; first < x.cols; first += kColumns) {
    const std::int64_t count = std::min(kColumns, x.cols - first);
    double sums[kColumns] = {};
    for (std::int64_t i = 0; i < x.rows; ++i)
      for (std::int64_t j = 0; j < count; ++j) sums[j] += static_cast<double>(x.data[i * x.ld + first + j]);
    for (std::int64_t j = 0; j < count; ++j) out[first + j] = static_cast<acc_t<T>>(sums[j]);
  }
}

#define LACUNA_INSTANTIATE(T)                                                            \
  template std::size_t sum_rows_scratch_bytes<T>(CpuStream, std::int64_t, std::int64_t); \
  template void sum_rows<T>(CpuStream, const Dense<const T>&, acc_t<T>*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
