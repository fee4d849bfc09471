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
void layer_norm(CpuStream, const Dense<const T>& x, const acc_t<T>* gain, const acc_t<T>* bias, double eps,
                const Dense<T>& y, ColumnStatistics<acc_t<T>> statistics) {
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
      statistics.mean[first + j] = static_cast<acc_t<T>>(mean[j]);
      statistics.rstd[first + j] = static_cast<acc_t<T>>(rstd[j]);
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
void layer_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                   ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t block = 0; block < column_blocks(x.cols); ++block) {
    const std::int64_t first = block * kColumns;
    const std::int64_t width = std::min(kColumns, x.cols - first);
    const acc_t<T>* mean = statistics.mean + first;
    const acc_t<T>* rstd = statistics.rstd + first;
    double sum_g[kColumns] = {};
    double sum_gx[kColumns] = {};
    for (std::int64_t i = 0; i < x.rows; ++i) {
      const T* row = x.data + i * x.ld + first;
      const T* drow = dy.data + i * dy.ld + first;
      for (std::int64_t j = 0; j < width; ++j) {
        const acc_t<T> g = gain[i] * drow[j];
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
        const acc_t<T> xhat = (row[j] - mean[j]) * rstd[j];
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
                        ColumnStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void*) {
  const acc_t<T>* mean = statistics.mean;
  const acc_t<T>* rstd = statistics.rstd;
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
    dgain[i] = static_cast<acc_t<T>>(sum_gain);
    dbias[i] = static_cast<acc_t<T>>(sum_bias);
  }
}

template <class T>
void layer_norm_gradient(CpuStream stream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                         ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx, acc_t<T>* dgain,
                         acc_t<T>* dbias, void* scratch) {
  layer_norm_dx<T>(stream, x, dy, gain, statistics, dx);
  layer_norm_dparams<T>(stream, x, dy, statistics, dgain, dbias, scratch);
}

#define LACUNA_INSTANTIATE(T)                                                                                    \
  template void layer_norm<T>(CpuStream, const Dense<const T>&, const acc_t<T>*, const acc_t<T>*, double,        \
                              const Dense<T>&, ColumnStatistics<acc_t<T>>);                                      \
  template void layer_norm_dx<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const acc_t<T>*,       \
                                 ColumnStatistics<const acc_t<T>>, const Dense<T>&);                             \
  template std::size_t layer_norm_dparams_scratch_bytes<T>(CpuStream, const Dense<const T>&);                    \
  template void layer_norm_dparams<T>(CpuStream, const Dense<const T>&, const Dense<const T>&,                   \
                                      ColumnStatistics<const acc_t<T>>, acc_t<T>*, acc_t<T>*, void*);            \
  template void layer_norm_gradient<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const acc_t<T>*, \
                                       ColumnStatistics<const acc_t<T>>, const Dense<T>&, acc_t<T>*, acc_t<T>*,  \
                                       void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
