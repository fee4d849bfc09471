// The step between two sublayers of a pre-norm Transformer, in one op.   f: features   n: tokens
#pragma once

#include "core/random.h"
#include "core/var.h"

namespace lacuna {

struct ResidualNormTensors {
  Tensor residual;    ///< r [f, n]
  Tensor normalised;  ///< y [f, n]
};
struct ResidualNormVars {
  Var residual;
  Var normalised;
};

/// r = x + dropout(h + h_bias) and y = layer_norm(r): the residual stream, and what the next sublayer reads.
///   x, h [f, n] (h or undefined);  h_bias [f] or undefined;  gain, bias [f]  ->  r, y [f, n]; one dtype, one device.
/// Where h is undefined nothing is added, and r is x: what is fused then is the addition of dr in the gradient.
/// The mask is that of dropout(h, p, key); with p = 0 the key is not read. On the CPU the same bits as the separate ops
/// give. Throws ShapeError, DtypeError, DeviceError, ValueError unless 0 <= p < 1.
/// Gradients: dx = dr + layer_norm's gradient of dy, dh = dropout(dx), dh_bias = sum_columns(dh), dgain and dbias as
/// layer_norm's. Keeps r, and a mean and an inverse deviation per column: neither x, h nor a mask.
/// docs/kernels/fusion.md counts the bytes.
ResidualNormTensors residual_norm(const Tensor& x, const Tensor& h, const Tensor& h_bias, const Tensor& gain,
                                  const Tensor& bias, double p = 0, RandomKey key = {}, double eps = 1e-5);
ResidualNormVars residual_norm(const Var& x, const Var& h, const Var& h_bias, const Var& gain, const Var& bias,
                               double p = 0, RandomKey key = {}, double eps = 1e-5);

}  // namespace lacuna
