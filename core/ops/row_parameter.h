// The check of what stands beside the rows of a matrix: gains, biases, running statistics.
#pragma once

#include "core/ops/checks.h"

namespace lacuna {

/// The dtype of parameters and statistics beside activations of `dtype`: f32 beside bf16, else the same.
constexpr DType parameter_dtype(DType dtype) { return dtype == DType::bf16 ? DType::f32 : dtype; }

/// t is [rows of x], on x's device, of parameter_dtype(x's). Throws ValueError (undefined), ShapeError, DtypeError,
/// DeviceError.
inline void require_row_parameter(const char* op, const char* name, const Tensor& t, const Tensor& x) {
  require_rank(op, name, t, 1);
  require_same_device(op, "x", x, name, t);
  require_dtype(op, name, t, parameter_dtype(x.dtype()));
  if (t.dim(0) != x.dim(0)) throw ShapeError(op, describe_pair("x", x, name, t) + "; its length must equal x's rows");
}

}  // namespace lacuna
