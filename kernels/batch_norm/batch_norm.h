// Batch norm over CNHW activations: each row (channel) is normalised over its columns (batch, height, width).
//   c: channels (rows)     n: columns     x, y, dx, dy [c, n], contiguous     everything else [c]
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

template <class T>
struct ChannelStatistics {
  T* mean;
  T* invstd;  ///< 1 / sqrt(variance + eps), the variance divided by n
};

/// Updated in place: running = (1 - momentum) * running + momentum * batch, with the unbiased variance (divided by n - 1).
template <class T>
struct RunningStatistics {
  T* mean;
  T* var;
  double momentum;
};

/// Scratch of the reductions over columns, forward and backward alike.
template <class T>
std::size_t batch_norm_scratch_bytes(CpuStream, const Dense<const T>& x);
template <class T>
std::size_t batch_norm_scratch_bytes(CudaStream, const Dense<const T>& x);

/// Mean and inverse standard deviation of every row, and the update of the running ones. n >= 2.
template <class T>
void batch_norm_statistics(CpuStream, const Dense<const T>& x, double eps, RunningStatistics<T> running,
                           ChannelStatistics<T> statistics, void* scratch);
template <class T>
void batch_norm_statistics(CudaStream, const Dense<const T>& x, double eps, RunningStatistics<T> running,
                           ChannelStatistics<T> statistics, void* scratch);

/// Evaluation: mean = running mean, invstd = 1 / sqrt(running variance + eps).
template <class T>
void batch_norm_frozen_statistics(CpuStream, std::int64_t channels, double eps, const T* running_mean,
                                  const T* running_var, ChannelStatistics<T> statistics);
template <class T>
void batch_norm_frozen_statistics(CudaStream, std::int64_t channels, double eps, const T* running_mean,
                                  const T* running_var, ChannelStatistics<T> statistics);

/// y = gain * (x - mean) * invstd + bias.
template <class T>
void batch_norm_apply(CpuStream, const Dense<const T>& x, ChannelStatistics<const T> statistics, const T* gain,
                      const T* bias, const Dense<T>& y);
template <class T>
void batch_norm_apply(CudaStream, const Dense<const T>& x, ChannelStatistics<const T> statistics, const T* gain,
                      const T* bias, const Dense<T>& y);

/// dgain = sum_j dy * xhat, dbias = sum_j dy, with xhat = (x - mean) * invstd. One pass over x and dy.
template <class T>
void batch_norm_dparams(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ChannelStatistics<const T> statistics, T* dgain, T* dbias, void* scratch);
template <class T>
void batch_norm_dparams(CudaStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ChannelStatistics<const T> statistics, T* dgain, T* dbias, void* scratch);

/// dx = gain * invstd * (dy - dbias / n - xhat * dgain / n); with null dgain and dbias the statistics are constants
/// (evaluation) and dx = gain * invstd * dy. dx may be dy.
template <class T>
void batch_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, ChannelStatistics<const T> statistics,
                   const T* gain, const T* dgain, const T* dbias, const Dense<T>& dx);
template <class T>
void batch_norm_dx(CudaStream, const Dense<const T>& x, const Dense<const T>& dy,
                   ChannelStatistics<const T> statistics, const T* gain, const T* dgain, const T* dbias,
                   const Dense<T>& dx);

}  // namespace lacuna::kernels
