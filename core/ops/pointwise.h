// Elementwise ops. Shapes agree exactly: there is no broadcasting but add_bias.
#pragma once

#include "core/var.h"

namespace lacuna {

/// a + b, a - b, a * b, elementwise. Same shape, dtype (f32, f64) and device.
/// Throws ShapeError, DtypeError, DeviceError. Gradients: dc and dc; dc and -dc; dc * b and dc * a.
Tensor add(const Tensor& a, const Tensor& b);
Var add(const Var& a, const Var& b);
Tensor sub(const Tensor& a, const Tensor& b);
Var sub(const Var& a, const Var& b);
Tensor mul(const Tensor& a, const Tensor& b);
Var mul(const Var& a, const Var& b);

/// factor * a. Gradient: factor * dc.
Tensor scale(const Tensor& a, double factor);
Var scale(const Var& a, double factor);

/// max(a, 0); NaN stays NaN. Gradient: dc where the output is positive, else 0.
Tensor relu(const Tensor& a);
Var relu(const Var& a);

/// a * Phi(a), Phi the standard normal distribution function (the erf form). Gradient: dc * (Phi(a) + a phi(a)).
Tensor gelu(const Tensor& a);
Var gelu(const Var& a);

/// relu, gelu or a itself (a new tensor all the same).
Tensor activation(const Tensor& a, Activation kind);
Var activation(const Var& a, Activation kind);
/// dc * activation'(.): `saved` is the activation's input, or for relu its output, of dc's shape. For none, dc itself.
Tensor activation_gradient(const Tensor& saved, const Tensor& dc, Activation kind);
/// The same, written over dc where nobody else holds it: for gradients that are used up.
Tensor activation_gradient_over(const Tensor& saved, const Tensor& dc, Activation kind);

/// x + bias[row]:  x [m, n],  bias [m]  ->  [m, n].
/// Throws ShapeError, DtypeError, DeviceError. Gradients: dx = dc; dbias = sum_columns(dc).
Tensor add_bias(const Tensor& x, const Tensor& bias);
Var add_bias(const Var& x, const Var& bias);

/// into += gradient, for the tape: in place when nobody else holds into's storage, else `into` becomes a new tensor.
/// An undefined `into` becomes `gradient` itself. Throws ShapeError, DtypeError, DeviceError.
void accumulate(Tensor& into, const Tensor& gradient);

}  // namespace lacuna
