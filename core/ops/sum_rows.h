// Sums down the columns: the gradient of a bias along the columns of a matrix of token rows.
#pragma once

#include "core/tensor.h"

namespace lacuna {

/// x [m, n]  ->  [n], the sum of x's rows; f32 of bf16; zeros without rows. In a fixed order: the same bits on every run.
/// Throws ShapeError. Records nothing.
Tensor sum_rows(const Tensor& x);

}  // namespace lacuna
