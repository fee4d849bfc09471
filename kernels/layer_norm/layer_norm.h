// Layer norm over feature-major activations: each column is normalised over its rows.
//   f: features (rows)     n: tokens (columns)     x, y, dx, dy [f, n]     gain, bias, dgain, dbias [f]
// For bf16 activations everything else is f32.
#pragma once

#include <cstddef>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Saved by the forward pass, both [n].
template <class T>
struct ColumnStatistics {
  T* mean;
  T* rstd;  ///< 1 / sqrt(variance + eps), the variance divided by f
};

/// y[i, j] = gain[i] * (x[i, j] - mean[j]) * rstd[j] + bias[i]; writes the statistics.
template <class T>
void layer_norm(CpuStream, const Dense<const T>& x, const acc_t<T>* gain, const acc_t<T>* bias, double eps,
                const Dense<T>& y, ColumnStatistics<acc_t<T>> statistics);
template <class T>
void layer_norm(CudaStream, const Dense<const T>& x, const acc_t<T>* gain, const acc_t<T>* bias, double eps,
                const Dense<T>& y, ColumnStatistics<acc_t<T>> statistics);

/// dx = rstd * (g - mean_i(g) - xhat * mean_i(g * xhat)) with g = gain * dy, xhat = (x - mean) * rstd.
template <class T>
void layer_norm_dx(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                   ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx);
template <class T>
void layer_norm_dx(CudaStream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                   ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx);

/// dgain[i] = sum_j dy * xhat, dbias[i] = sum_j dy. Deterministic: two stages on CUDA.
template <class T>
std::size_t layer_norm_dparams_scratch_bytes(CpuStream, const Dense<const T>& x);
template <class T>
std::size_t layer_norm_dparams_scratch_bytes(CudaStream, const Dense<const T>& x);
template <class T>
void layer_norm_dparams(CpuStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ColumnStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void* scratch);
template <class T>
void layer_norm_dparams(CudaStream, const Dense<const T>& x, const Dense<const T>& dy,
                        ColumnStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void* scratch);

/// Both of these, in one pass where bf16 rows allow it on CUDA. `scratch` is that of layer_norm_dparams.
template <class T>
void layer_norm_gradient(CpuStream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                         ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx, acc_t<T>* dgain,
                         acc_t<T>* dbias, void* scratch);
template <class T>
void layer_norm_gradient(CudaStream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                         ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx, acc_t<T>* dgain,
                         acc_t<T>* dbias, void* scratch);

}  // namespace lacuna::kernels
