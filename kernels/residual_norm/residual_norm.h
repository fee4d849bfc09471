// Residual addition, dropout and layer norm in one: r = x + dropout(h + h_bias), y = layer_norm(r).
//   f: features (rows)   n: tokens (columns)   [f, n] arrays are contiguous, feature-major
//   T: stored type of activations   A = wide_t<T>: of parameters, statistics and all arithmetic
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/dropout/dropout_rule.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

template <class T>
struct ResidualNorm {
  using A = wide_t<T>;
  std::int64_t f = 0, n = 0;
  const T* x = nullptr;       ///< [f, n] residual stream
  const T* h = nullptr;       ///< [f, n] what is added to it
  const A* h_bias = nullptr;  ///< [f] or null
  DropoutRule dropout;        ///< of h + h_bias; element (i, j) takes word i * n + j
  const A* gain = nullptr;    ///< [f]
  const A* bias = nullptr;    ///< [f]
  double eps = 0;
  T* r = nullptr;     ///< [f, n] written; may be x or h
  T* y = nullptr;     ///< [f, n] written
  A* mean = nullptr;  ///< [n] written
  A* rstd = nullptr;  ///< [n] written: 1 / sqrt(variance + eps), the variance of r as stored, divided by f
};

template <class T>
void residual_norm(CpuStream, const ResidualNorm<T>& call);
template <class T>
void residual_norm(CudaStream, const ResidualNorm<T>& call);

/// With g = gain * dy and xhat = (r - mean) * rstd:
///   dx = dr + rstd * (g - mean_i(g) - xhat * mean_i(g * xhat)),  dh = dropout(dx),
///   dgain[i] = sum_j dy * xhat,  dbias[i] = sum_j dy,  dh_bias[i] = sum_j dh.
template <class T>
struct ResidualNormGradient {
  using A = wide_t<T>;
  std::int64_t f = 0, n = 0;
  const T* r = nullptr;     ///< [f, n]
  const T* dy = nullptr;    ///< [f, n]
  const T* dr = nullptr;    ///< [f, n], or null: 0
  const A* gain = nullptr;  ///< [f]
  const A* mean = nullptr;  ///< [n]
  const A* rstd = nullptr;  ///< [n]
  DropoutRule dropout;
  T* dx = nullptr;       ///< [f, n] written; may be dr
  T* dh = nullptr;       ///< [f, n] written; null: not wanted, or nothing is dropped and it is dx
  A* dgain = nullptr;    ///< [f] written
  A* dbias = nullptr;    ///< [f] written
  A* dh_bias = nullptr;  ///< [f] written, or null
};

/// Scratch of the gradient: partial sums of the parameters' gradients.
template <class T>
std::size_t residual_norm_scratch_bytes(CpuStream, std::int64_t f, std::int64_t n);
template <class T>
std::size_t residual_norm_scratch_bytes(CudaStream, std::int64_t f, std::int64_t n);

template <class T>
void residual_norm_gradient(CpuStream, const ResidualNormGradient<T>& call, void* scratch);
template <class T>
void residual_norm_gradient(CudaStream, const ResidualNormGradient<T>& call, void* scratch);

}  // namespace lacuna::kernels
