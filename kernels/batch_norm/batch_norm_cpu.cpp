// Batch norm on the CPU: one thread per channel, sums in double, so results do not depend on the number of threads.
#include <cmath>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/batch_norm/batch_norm.h"

namespace lacuna::kernels {

template <class T>
std::size_t batch_norm_scratch_bytes(CpuStream, const Dense<const T>&) {
  return 0;
}

template <class T>
void batch_norm_statistics(CpuStream, const Dense<const T>& x, double eps, RunningStatistics<T> running,
                           ChannelStatistics<T> statistics, void*) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t j = 0; j < x.cols; ++j) sum += row[j];
    const double mean = sum / static_cast<double>(x.cols);
    double square = 0;
#pragma omp simd reduction(+ : square)
    for (std::int64_t j = 0; j < x.cols; ++j) square += (row[j] - mean) * (row[j] - mean);
    statistics.mean[c] = static_cast<T>(mean);
    statistics.invstd[c] = static_cast<T>(1.0 / std::sqrt(square / static_cast<double>(x.cols) + eps));
    const double unbiased = square / static_cast<double>(x.cols - 1);
    const double keep = 1.0 - running.momentum;
    running.mean[c] = static_cast<T>(keep * running.mean[c] + running.momentum * mean);
    running.var[c] = static_cast<T>(keep * running.var[c] + running.momentum * unbiased);
  }
}

template <class T>
void batch_norm_frozen_statistics(CpuStream, std::int64_t channels, double eps, const T* running_mean,
                                  const T* running_var, ChannelStatistics<T> statistics) {
  for (std::int64_t c = 0; c < channels; ++c) {
    statistics.mean[c] = running_mean[c];
    statistics.invstd[c] = static_cast<T>(1.0 / std::sqrt(double{running_var[c]} + eps));
  }
}

template <class T>
void batch_norm_apply(CpuStream, const Dense<const T>& x, ChannelStatistics<const T> statistics, const T* gain,
                      const T* bias, const Dense<T>& y) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    T* out = y.data + c * y.ld;
    const T mean = statistics.mean[c];
    const T scale = gain[c] * statistics.invstd[c];
    const T shift = bias[c];
    for (std::int64_t j = 0; j < x.cols; ++j) out[j] = (row[j] - mean) * scale + shift;
  }
}

template <class T>
void batch_norm_dparams(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ChannelStatistics<const T> statistics, T* dgain, T* dbias, void*) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    const T* drow = dy.data + c * dy.ld;
    const T mean = statistics.mean[c];
    double sum_gain = 0;
    double sum_bias = 0;
#pragma omp simd reduction(+ : sum_gain, sum_bias)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      sum_gain += drow[j] * (row[j] - mean);
      sum_bias += drow[j];
    }
    dgain[c] = static_cast<T>(sum_gain * statistics.invstd[c]);
    dbias[c] = static_cast<T>(sum_bias);
  }
}

template <class T>
void batch_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, ChannelStatistics<const T> statistics,
                   const T* gain, const T* dgain, const T* dbias, const Dense<T>& dx) {
  const T scale = T(1) / static_cast<T>(x.cols);
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    const T* drow = dy.data + c * dy.ld;
    T* out = dx.data + c * dx.ld;
    const T factor = gain[c] * statistics.invstd[c];
    if (dgain == nullptr) {
      for (std::int64_t j = 0; j < x.cols; ++j) out[j] = factor * drow[j];
      continue;
    }
    const T mean = statistics.mean[c];
    const T mean_dy = dbias[c] * scale;
    const T slope = dgain[c] * scale * statistics.invstd[c];
    for (std::int64_t j = 0; j < x.cols; ++j) out[j] = factor * (drow[j] - mean_dy - (row[j] - mean) * slope);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template std::size_t batch_norm_scratch_bytes<T>(CpuStream, const Dense<const T>&);                                  \
  template void batch_norm_statistics<T>(CpuStream, const Dense<const T>&, double, RunningStatistics<T>,               \
                                         ChannelStatistics<T>, void*);                                                 \
  template void batch_norm_frozen_statistics<T>(CpuStream, std::int64_t, double, const T*, const T*,                   \
                                                ChannelStatistics<T>);                                                 \
  template void batch_norm_apply<T>(CpuStream, const Dense<const T>&, ChannelStatistics<const T>, const T*, const T*,  \
                                    const Dense<T>&);                                                                  \
  template void batch_norm_dparams<T>(CpuStream, const Dense<const T>&, const Dense<const T>&,                         \
                                      ChannelStatistics<const T>, T*, T*, void*);                                      \
  template void batch_norm_dx<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, ChannelStatistics<const T>,  \
                                 const T*, const T*, const T*, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
