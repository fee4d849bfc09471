// Dense products.   m, k, n: rows of op(a), columns of op(a), columns of op(b).
#pragma once

#include "core/var.h"

namespace lacuna {

/// op(a) op(b), op the transpose where the flag says so:  op(a) [m, k],  op(b) [k, n]  ->  [m, n];
/// or [batch, m, k] and [batch, k, n] -> [batch, m, n]. f32 products on CUDA follow matmul_precision.
/// Throws ShapeError, DtypeError, DeviceError. Gradients: products with the flags turned, no transposed copies.
Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a = false, bool transpose_b = false);
Var matmul(const Var& a, const Var& b, bool transpose_a = false, bool transpose_b = false);

/// activation(w x + bias[row]):  w [m, k],  x [k, n],  bias [m] or undefined  ->  [m, n].
/// Throws ShapeError, DtypeError, DeviceError. Gradients: with dp = dc * activation'(p),
/// dw = dp x^T;  dx = w^T dp;  dbias = sum_columns(dp). Recording gelu keeps the product, and bias and gelu are one op
/// after it.
Tensor linear(const Tensor& w, const Tensor& x, const Tensor& bias = {}, Activation activation = Activation::none);
Var linear(const Var& w, const Var& x, const Var& bias = {}, Activation activation = Activation::none);

}  // namespace lacuna
