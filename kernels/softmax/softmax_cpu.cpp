// Softmax on the CPU: one thread per row, sums in double.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/common/parallel.h"
#include "kernels/softmax/softmax.h"

namespace lacuna::kernels {
namespace {

// Columns of a row that take part.
std::int64_t row_length(std::int64_t row, std::int64_t cols, bool causal) { return causal ? row % cols + 1 : cols; }

}  // namespace

template <class T>
void softmax(CpuStream, const Dense<const T>& x, double scale, bool causal, const Dense<T>& y) {
  using A = acc_t<T>;
  const A factor = static_cast<A>(scale);
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const T* in = x.data + r * x.ld;
    T* out = y.data + r * y.ld;
    const std::int64_t length = row_length(r, x.cols, causal);
    A largest = -std::numeric_limits<A>::infinity();
    // std::max(a, b) keeps a when b is NaN; the NaN then reaches the sum through exp below.
    for (std::int64_t j = 0; j < length; ++j) largest = std::max(largest, factor * in[j]);
    double sum = 0;
    if constexpr (std::is_same_v<A, T>) {
      for (std::int64_t j = 0; j < length; ++j) {
        out[j] = std::exp(factor * in[j] - largest);
        sum += out[j];
      }
      const T inverse = static_cast<T>(1.0 / sum);
      for (std::int64_t j = 0; j < length; ++j) out[j] *= inverse;
    } else {  // out would round: the powers are computed twice
      for (std::int64_t j = 0; j < length; ++j) sum += std::exp(factor * in[j] - largest);
      const A inverse = static_cast<A>(1.0 / sum);
      for (std::int64_t j = 0; j < length; ++j) out[j] = static_cast<T>(std::exp(factor * in[j] - largest) * inverse);
    }
    std::fill(out + length, out + x.cols, T(0));
  }
}

template <class T>
void softmax_dx(CpuStream, const Dense<const T>& p, const Dense<const T>& dp, double scale, bool causal,
                const Dense<T>& dx) {
  using A = acc_t<T>;
  const A factor = static_cast<A>(scale);
#pragma omp parallel for schedule(static) if (worth_threads(p.rows * p.cols))
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const T* prob = p.data + r * p.ld;
    const T* gradient = dp.data + r * dp.ld;
    T* out = dx.data + r * dx.ld;
    const std::int64_t length = row_length(r, p.cols, causal);
    double dot = 0;
#pragma omp simd reduction(+ : dot)
    for (std::int64_t j = 0; j < length; ++j) dot += prob[j] * gradient[j];
    const A mean = static_cast<A>(dot);
    for (std::int64_t j = 0; j < length; ++j) out[j] = static_cast<T>(factor * prob[j] * (gradient[j] - mean));
    std::fill(out + length, out + p.cols, T(0));
  }
}

#define LACUNA_INSTANTIATE(T)                                                                     \
  template void softmax<T>(CpuStream, const Dense<const T>&, double, bool, const Dense<T>&);      \
  template void softmax_dx<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, double, bool, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
