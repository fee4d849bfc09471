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
void batch_norm_statistics(CpuStream, const Dense<const T>& x, double eps, RunningStatistics<acc_t<T>> running,
                           ChannelStatistics<acc_t<T>> statistics, void*) {
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
    statistics.mean[c] = static_cast<acc_t<T>>(mean);
    statistics.invstd[c] = static_cast<acc_t<T>>(1.0 / std::sqrt(square / static_cast<double>(x.cols) + eps));
    const double unbiased = square / static_cast<double>(x.cols - 1);
    const double keep = 1.0 - running.momentum;
    running.mean[c] = static_cast<acc_t<T>>(keep * running.mean[c] + running.momentum * mean);
    running.var[c] = static_cast<acc_t<T>>(keep * running.var[c] + running.momentum * unbiased);
  }
}

template <class T>
void batch_norm_frozen_statistics(CpuStream, std::int64_t channels, double eps, const acc_t<T>* running_mean,
                                  const acc_t<T>* running_var, ChannelStatistics<acc_t<T>> statistics) {
  for (std::int64_t c = 0; c < channels; ++c) {
    statistics.mean[c] = running_mean[c];
    statistics.invstd[c] = static_cast<acc_t<T>>(1.0 / std::sqrt(double{running_var[c]} + eps));
  }
}

template <class T>
void batch_norm_apply(CpuStream, const Dense<const T>& x, ChannelStatistics<const acc_t<T>> statistics,
                      const acc_t<T>* gain, const acc_t<T>* bias, const Dense<T>& y) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    T* out = y.data + c * y.ld;
    const acc_t<T> mean = statistics.mean[c];
    const acc_t<T> scale = gain[c] * statistics.invstd[c];
    const acc_t<T> shift = bias[c];
    for (std::int64_t j = 0; j < x.cols; ++j) out[j] = static_cast<T>((row[j] - mean) * scale + shift);
  }
}

template <class T>
void batch_norm_dparams(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ChannelStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void*) {
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    const T* drow = dy.data + c * dy.ld;
    const acc_t<T> mean = statistics.mean[c];
    double sum_gain = 0;
    double sum_bias = 0;
#pragma omp simd reduction(+ : sum_gain, sum_bias)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      sum_gain += drow[j] * (row[j] - mean);
      sum_bias += drow[j];
    }
    dgain[c] = static_cast<acc_t<T>>(sum_gain * statistics.invstd[c]);
    dbias[c] = static_cast<acc_t<T>>(sum_bias);
  }
}

template <class T>
void batch_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                   ChannelStatistics<const acc_t<T>> statistics, const acc_t<T>* gain, const acc_t<T>* dgain,
                   const acc_t<T>* dbias, const Dense<T>& dx) {
  const acc_t<T> scale = acc_t<T>(1) / static_cast<acc_t<T>>(x.cols);
#pragma omp parallel for schedule(static) if (worth_threads(x.rows * x.cols))
  for (std::int64_t c = 0; c < x.rows; ++c) {
    const T* row = x.data + c * x.ld;
    const T* drow = dy.data + c * dy.ld;
    T* out = dx.data + c * dx.ld;
    const acc_t<T> factor = gain[c] * statistics.invstd[c];
    if (dgain == nullptr) {
      for (std::int64_t j = 0; j < x.cols; ++j) out[j] = static_cast<T>(factor * drow[j]);
      continue;
    }
    const acc_t<T> mean = statistics.mean[c];
    const acc_t<T> mean_dy = dbias[c] * scale;
    const acc_t<T> slope = dgain[c] * scale * statistics.invstd[c];
    for (std::int64_t j = 0; j < x.cols; ++j)
      out[j] = static_cast<T>(factor * (drow[j] - mean_dy - (row[j] - mean) * slope));
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template std::size_t batch_norm_scratch_bytes<T>(CpuStream, const Dense<const T>&);                                  \
  template void batch_norm_statistics<T>(CpuStream, const Dense<const T>&, double, RunningStatistics<acc_t<T>>,        \
                                         ChannelStatistics<acc_t<T>>, void*);                                          \
  template void batch_norm_frozen_statistics<T>(CpuStream, std::int64_t, double, const acc_t<T>*, const acc_t<T>*,     \
                                                ChannelStatistics<acc_t<T>>);                                          \
  template void batch_norm_apply<T>(CpuStream, const Dense<const T>&, ChannelStatistics<const acc_t<T>>,               \
                                    const acc_t<T>*, const acc_t<T>*, const Dense<T>&);                                \
  template void batch_norm_dparams<T>(CpuStream, const Dense<const T>&, const Dense<const T>&,                         \
                                      ChannelStatistics<const acc_t<T>>, acc_t<T>*, acc_t<T>*, void*);                 \
  template void batch_norm_dx<T>(CpuStream, const Dense<const T>&, const Dense<const T>&,                              \
                                 ChannelStatistics<const acc_t<T>>, const acc_t<T>*, const acc_t<T>*, const acc_t<T>*, \
                                 const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
