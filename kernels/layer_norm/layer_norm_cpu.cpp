// Layer norm on the CPU: threads take blocks of adjacent columns, inner loops run along a row. Sums are kept in double;
// no column is shared by threads, so results do not depend on their number.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/layer_norm/layer_norm.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kColumns = 64;  // per block: a row's piece is a few cache lines, the sums fit L1

std::int64_t column_blocks(std::int64_t cols) { return (cols + kColumns - 1) / kColumns; }

}  // namespace

template <class T>
void layer_norm(CpuStream, const Dense<const T>& x, const T* gain, const T* bias, double eps, const Dense<T>& y,
                ColumnStatistics<T> statistics) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t block = 0; block < column_blocks(x.cols); ++block) {
    const std::int64_t first = block * kColumns;
    const std::int64_t width = std::min(kColumns, x.cols - first);
    double mean[kColumns] = {};
    double square[kColumns] = {};
    double rstd[kColumns];
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      for (std::int64_t j = 0; j < width; ++j) mean[j] += row[j];
    }
    for (std::int64_t j = 0; j < width; ++j) mean[j] /= static_cast<double>(x.rows);
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      for (std::int64_t j = 0; j < width; ++j) square[j] += (row[j] - mean[j]) * (row[j] - mean[j]);
    }
    for (std::int64_t j = 0; j < width; ++j) {
      rstd[j] = 1.0 / std::sqrt(square[j] / static_cast<double>(x.rows) + eps);
      statistics.mean[first + j] = static_cast<T>(mean[j]);
      statistics.rstd[first + j] = static_cast<T>(rstd[j]);
    }
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      T* out = y.data + i * y.ld + first;
      for (std::int64_t j = 0; j < width; ++j)
        out[j] = static_cast<T>((row[j] - mean[j]) * rstd[j] * gain[i] + bias[i]);
    }
  }
}

template <class T>
void layer_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, const T* gain,
                   ColumnStatistics<const T> statistics, const Dense<T>& dx) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t block = 0; block < column_blocks(x.cols); ++block) {
    const std::int64_t first = block * kColumns;
    const std::int64_t width = std::min(kColumns, x.cols - first);
    const T* mean = statistics.mean + first;
    const T* rstd = statistics.rstd + first;
    double sum_g[kColumns] = {};
    double sum_gx[kColumns] = {};
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      const T* drow = dy.data + i * dy.ld + first;
      for (std::int64_t j = 0; j < width; ++j) {
        const T g = gain[i] * drow[j];
        sum_g[j] += g;
        sum_gx[j] += g * ((row[j] - mean[j]) * rstd[j]);
      }
    }
    const double scale = 1.0 / static_cast<double>(x.rows);
    for (std::int64_t j = 0; j < width; ++j) {
      sum_g[j] *= scale;
      sum_gx[j] *= scale;
    }
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      const T* drow = dy.data + i * dy.ld + first;
      T* out = dx.data + i * dx.ld + first;
      for (std::int64_t j = 0; j < width; ++j) {
        const T xhat = (row[j] - mean[j]) * rstd[j];
        out[j] = static_cast<T>(rstd[j] * (gain[i] * drow[j] - sum_g[j] - xhat * sum_gx[j]));
      }
    }
  }
}

template <class T>
std::size_t layer_norm_dparams_scratch_bytes(CpuStream, const Dense<const T>&) {
  return 0;
}

template <class T>
void layer_norm_dparams(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ColumnStatistics<const T> statistics, T* dgain, T* dbias, void*) {
  const T* mean = statistics.mean;
  const T* rstd = statistics.rstd;
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const T* row = x.data + i * x.ld;
    const T* drow = dy.data + i * dy.ld;
    double sum_gain = 0;
    double sum_bias = 0;
#pragma omp simd reduction(+ : sum_gain, sum_bias)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      sum_gain += drow[j] * ((row[j] - mean[j]) * rstd[j]);
      sum_bias += drow[j];
    }
    dgain[i] = static_cast<T>(sum_gain);
    dbias[i] = static_cast<T>(sum_bias);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template void layer_norm<T>(CpuStream, const Dense<const T>&, const T*, const T*, double, const Dense<T>&,           \
                              ColumnStatistics<T>);                                                                    \
  template void layer_norm_dx<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const T*,                    \
                                 ColumnStatistics<const T>, const Dense<T>&);                                          \
  template std::size_t layer_norm_dparams_scratch_bytes<T>(CpuStream, const Dense<const T>&);                          \
  template void layer_norm_dparams<T>(CpuStream, const Dense<const T>&, const Dense<const T>&,                         \
                                      ColumnStatistics<const T>, T*, T*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
