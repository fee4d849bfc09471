// Batch norm (Ioffe & Szegedy 2015) and ReLU in one op, over CNHW activations.
//   c: channels   n: batch * height * width
#pragma once

#include "core/var.h"

namespace lacuna {

/// relu(batch_norm(x, ...)): arguments, statistics and errors as batch_norm's (core/ops/batch_norm.h). On the CPU the
/// same bits as the two ops give.
/// Gradients: batch_norm's of dy where the output is positive, 0 elsewhere. Keeps x, and a mean and an inverse
/// deviation per channel: the sign of the output is computed again from x, and what lies between the two ops is never
/// stored. docs/kernels/fusion.md counts the bytes.
Tensor batch_norm_relu(const Tensor& x, const Tensor& gain, const Tensor& bias, const Tensor& running_mean,
                       const Tensor& running_var, bool training, double momentum = 0.1, double eps = 1e-5);
Var batch_norm_relu(const Var& x, const Var& gain, const Var& bias, const Tensor& running_mean,
                    const Tensor& running_var, bool training, double momentum = 0.1, double eps = 1e-5);

}  // namespace lacuna
