// Between feature-major activations and the token-major matrices of attention heads.
//   d: features of a head   b: batch   t: tokens of a sequence
#pragma once

#include <cstdint>

#include "core/var.h"

namespace lacuna {

/// x [heads*d, b*t]  ->  [heads*b, t, d], head-major: matrix h * b + i is head h of sequence i.
/// Throws ShapeError unless heads divides the rows and batch the columns. Gradient: merge_heads.
Tensor split_heads(const Tensor& x, std::int64_t batch, std::int64_t heads);
Var split_heads(const Var& x, std::int64_t batch, std::int64_t heads);

/// split_heads(x + bias[row]) in one pass:  bias [heads*d] or undefined. The bits of add_bias and split_heads.
/// Throws as without, and for the bias ShapeError, DtypeError, DeviceError. Gradients: dx = merge_heads(dy),
/// dbias = sum_columns(dx).
Tensor split_heads(const Tensor& x, const Tensor& bias, std::int64_t batch, std::int64_t heads);
Var split_heads(const Var& x, const Var& bias, std::int64_t batch, std::int64_t heads);

/// The inverse:  x [heads*b, t, d]  ->  [heads*d, b*t].
/// Throws ShapeError unless x's first extent is heads * batch. Gradient: split_heads.
Tensor merge_heads(const Tensor& x, std::int64_t batch, std::int64_t heads);
Var merge_heads(const Var& x, std::int64_t batch, std::int64_t heads);
/// Into y, of that shape and x's dtype.
void merge_heads_into(const Tensor& y, const Tensor& x, std::int64_t batch, std::int64_t heads);

/// x [m, n]  ->  [n, m].  Throws ShapeError. Gradient: the transpose of dy.
Tensor transpose(const Tensor& x);
Var transpose(const Var& x);

}  // namespace lacuna
