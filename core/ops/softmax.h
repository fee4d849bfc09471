// Softmax over the last axis.
#pragma once

#include "core/var.h"

namespace lacuna {

/// softmax(scale * x) over the last axis, computed against the row's maximum.
///   x [..., cols]  ->  same shape.   causal: x is [..., t, t]; row i keeps entries 0..i, the others are exactly 0 and
///   are never read, so they may hold anything.
/// Throws ShapeError, DtypeError. Gradient: scale * p * (dp - sum_j p dp); keeps only the result.
Tensor softmax(const Tensor& x, double scale = 1, bool causal = false);
Var softmax(const Var& x, double scale = 1, bool causal = false);

}  // namespace lacuna
