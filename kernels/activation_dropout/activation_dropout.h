// Bias, activation and dropout in one pass, and their gradients with the bias's in one pass.
//   m: rows (a bias each)   n: columns   [m, n] arrays are contiguous
//   T: stored type of activations   A = wide_t<T>: of biases and all arithmetic
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/dropout/dropout_rule.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y = dropout(activation(x + bias)); element (i, j) takes word i * n + j of the mask.
template <class T>
struct ActivationDropout {
  using A = wide_t<T>;
  std::int64_t m = 0, n = 0;
  const T* x = nullptr;     ///< [m, n]
  const A* bias = nullptr;  ///< [m] or null
  Activation activation = Activation::none;
  DropoutRule dropout;
  T* y = nullptr;  ///< [m, n] written; may be x
};

template <class T>
void activation_dropout(CpuStream, const ActivationDropout<T>& call);
template <class T>
void activation_dropout(CudaStream, const ActivationDropout<T>& call);

/// dx = dropout(dy) * activation'(x + bias), dbias[i] = sum_j dx.
/// relu takes y for `saved` and draws no numbers: y > 0 says both that the ReLU was open and that nothing was dropped.
template <class T>
struct ActivationDropoutGradient {
  using A = wide_t<T>;
  std::int64_t m = 0, n = 0;
  const T* saved = nullptr;  ///< [m, n]: relu the output y, gelu the input x; none: not read
  const A* bias = nullptr;   ///< [m] or null; gelu reads it
  Activation activation = Activation::none;
  DropoutRule dropout;
  const T* dy = nullptr;  ///< [m, n]
  T* dx = nullptr;        ///< [m, n] written; may be dy
  A* dbias = nullptr;     ///< [m] written, or null
};

/// Scratch of the gradient with a dbias.
template <class T>
std::size_t activation_dropout_scratch_bytes(CpuStream, std::int64_t m, std::int64_t n);
template <class T>
std::size_t activation_dropout_scratch_bytes(CudaStream, std::int64_t m, std::int64_t n);

template <class T>
void activation_dropout_gradient(CpuStream, const ActivationDropoutGradient<T>& call, void* scratch);
template <class T>
void activation_dropout_gradient(CudaStream, const ActivationDropoutGradient<T>& call, void* scratch);

}  // namespace lacuna::kernels
