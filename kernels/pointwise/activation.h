// Activations of one element and their derivatives; host and device. NaN passes through every one of them.
#pragma once

#include <cmath>

#include "kernels/runtime/views.h"

#if defined(__CUDACC__)
#define LACUNA_ACTIVATION_HD __host__ __device__ __forceinline__
#else
#define LACUNA_ACTIVATION_HD inline
#endif

namespace lacuna::kernels {

/// max(x, 0), but NaN stays NaN (fmax would return 0).
template <class T>
LACUNA_ACTIVATION_HD T relu(T x) {
  return x < T(0) ? T(0) : x;
}

/// x * Phi(x), Phi the normal distribution function. erfc keeps its accuracy where 1 + erf would cancel.
LACUNA_ACTIVATION_HD float gelu(float x) { return 0.5f * x * erfcf(-0.70710678118654752f * x); }
LACUNA_ACTIVATION_HD double gelu(double x) { return 0.5 * x * erfc(-0.70710678118654752440 * x); }

/// d gelu(x) / dx = Phi(x) + x phi(x).
LACUNA_ACTIVATION_HD float gelu_derivative(float x) {
  return 0.5f * erfcf(-0.70710678118654752f * x) + x * 0.39894228040143268f * expf(-0.5f * x * x);
}
LACUNA_ACTIVATION_HD double gelu_derivative(double x) {
  return 0.5 * erfc(-0.70710678118654752440 * x) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
}

template <class T>
LACUNA_ACTIVATION_HD T activate(Activation activation, T x) {
  if (activation == Activation::relu) return relu(x);
  if (activation == Activation::gelu) return gelu(x);
  return x;
}

/// dy * activation'(x). `saved` is the input x; relu takes its output as well, since their signs agree.
template <class T>
LACUNA_ACTIVATION_HD T activate_gradient(Activation activation, T saved, T dy) {
  if (activation == Activation::relu) return saved <= T(0) ? T(0) : dy;
  if (activation == Activation::gelu) return dy * gelu_derivative(saved);
  return dy;
}

}  // namespace lacuna::kernels
