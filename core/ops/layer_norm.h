// Layer norm (Ba et al. 2016) over feature-major activations.   f: features   n: tokens
#pragma once

#include "core/var.h"

namespace lacuna {

/// Normalises each column of x over its features: gain[i] * (x[i, j] - mean[j]) / sqrt(var[j] + eps) + bias[i], with the
/// variance divided by f.   x [f, n],  gain [f],  bias [f]  ->  [f, n]; one dtype (f32 beside
///   bf16 x), one device.
/// Throws ShapeError, DtypeError, DeviceError.
/// Gradients: dx = rstd * (g - mean(g) - xhat * mean(g * xhat)), g = gain * dy; dgain = sum_j dy * xhat; dbias = sum_j dy.
/// Keeps x, and a mean and an inverse deviation per column.
Tensor layer_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, double eps = 1e-5);
Var layer_norm(const Var& x, const Var& gain, const Var& bias, double eps = 1e-5);

}  // namespace lacuna
