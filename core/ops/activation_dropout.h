// What follows a product: bias, activation and dropout in one op, and gradients that sum the bias's on the way.
#pragma once

#include "core/random.h"
#include "core/var.h"

namespace lacuna {

/// dropout(activation(x + bias[row])):  x [m, n],  bias [m] or undefined  ->  [m, n]; one dtype, one device.
/// The mask is that of dropout(., p, key); with p = 0 the key is not read. On the CPU the same bits as the separate ops
/// give. The Var form takes x over: where nobody else holds it and the gradient needs no x (none, relu), it is
/// overwritten.
/// Throws ShapeError, DtypeError, DeviceError, ValueError unless 0 <= p < 1.
/// Gradients: dx = dropout(dy) * activation'(x + bias), dbias = sum_columns(dx), in one pass. Keeps the output for
/// relu, x for gelu, nothing otherwise; no mask. docs/kernels/fusion.md counts the bytes.
Tensor activation_dropout(const Tensor& x, const Tensor& bias, Activation activation, double p, RandomKey key);
Var activation_dropout(Var x, const Var& bias, Activation activation, double p, RandomKey key);

struct BiasedGradient {
  Tensor dx;     ///< [m, n]
  Tensor dbias;  ///< [m]; undefined when not asked for
};

/// activation_gradient(saved, dc, kind) and, when `with_bias`, its sum_columns, in one pass over dc: the step from the
/// gradient of activation(product + bias) to those of product and bias. dc of any shape without the bias, else [m, n];
/// overwritten when it is_unique().
BiasedGradient activation_bias_gradient(const Tensor& saved, const Tensor& dc, Activation kind, bool with_bias);

}  // namespace lacuna
