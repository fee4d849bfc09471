// Batch norm (Ioffe & Szegedy 2015) over CNHW activations.   c: channels   n: batch * height * width
#pragma once

#include "core/var.h"

namespace lacuna {

/// Normalises each row of x: gain[i] * (x[i, j] - mean[i]) / sqrt(var[i] + eps) + bias[i].
///   x [c, n];  gain, bias, running_mean, running_var [c]  ->  [c, n]; one dtype (f32 beside
///   bf16 x), one device.
/// Training: mean and variance (divided by n) are the batch's; the running ones are updated in place as PyTorch does,
///   running = (1 - momentum) * running + momentum * batch, with the variance divided by n - 1. n must be at least 2.
/// Evaluation: mean and variance are the running ones, which stay as they are.
/// Throws ShapeError, DtypeError, DeviceError.
/// Gradients: dgain = sum_j dy * xhat; dbias = sum_j dy; dx = gain * invstd * (dy - dbias / n - xhat * dgain / n) in
/// training, gain * invstd * dy in evaluation. Keeps x, and a mean and an inverse deviation per channel.
Tensor batch_norm(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                  const Tensor& running_var, bool training, double momentum = 0.1, double eps = 1e-5);
Var batch_norm(const Var& x, const Var& gain, const Var& bias, const Tensor& running_mean, const Tensor& running_var,
               bool training, double momentum = 0.1, double eps = 1e-5);

}  // namespace lacuna
