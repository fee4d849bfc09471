// Conversion between float dtypes on the device: how f32 parameters become bf16 operands.
#pragma once

#include "core/var.h"

namespace lacuna {

/// x as `dtype`; x itself when it already is. f32 and bf16 on either backend, f64 on the CPU too. To bf16: to nearest,
/// ties to even; NaN stays NaN. Throws DtypeError, BackendError.
/// Gradient: dc as x's dtype, so that a parameter's gradient has the parameter's dtype.
Tensor cast(const Tensor& x, DType dtype);
Var cast(const Var& x, DType dtype);

/// Writes x into `out`, of x's count and device, as out's dtype. Throws ShapeError, DeviceError, DtypeError.
void cast_into(const Tensor& out, const Tensor& x);

}  // namespace lacuna
