// Sums in a fixed order, so the same bits on every run. f32 results of f32 sums are accumulated wider; sums
// of bf16 are f32.
#pragma once

#include <vector>

#include "core/var.h"

namespace lacuna {

/// Sum of all elements, a scalar; 0 for an empty x. Gradient: dc everywhere.
Tensor sum(const Tensor& x);
Var sum(const Var& x);

/// Mean of all elements, a scalar. Throws ShapeError for an empty x. Gradient: dc / numel everywhere.
Tensor mean(const Tensor& x);
Var mean(const Var& x);

/// Sum of each row over its columns:  x [m, n]  ->  [m].  Gradient: dx[i, j] = dc[i].
Tensor sum_columns(const Tensor& x);
Var sum_columns(const Var& x);

/// Sum of the squares of all elements of all tensors, a scalar on their device (the gradient norm, squared).
/// One device and dtype. Throws ValueError for an empty list, DtypeError, DeviceError.
Tensor sum_of_squares(const std::vector<Tensor>& tensors);

}  // namespace lacuna
