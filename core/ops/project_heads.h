// The projections of attention as one product.   f: features of x   m: features of a projection   n = batch * t: columns
#pragma once

#include <cstdint>
#include <vector>

#include "core/var.h"

namespace lacuna {

struct HeadProjection {
  Var weight;  ///< [m, f], of x's dtype, or f32 beside bf16: rounded on its way into the product
  Var bias;    ///< [m], f32 beside bf16, or undefined
};

/// split_heads(w x, bias) for each projection: one product with the weights one above the other, in x's dtype.
///   x [f, n]  ->  one [heads * batch, t, m / heads] each
/// Throws ShapeError (weights must be of one shape), DtypeError, DeviceError, ValueError without projections.
/// Gradients: dw = dp x^T, not rounded (matmul_wide); dx = the sum of w^T dp, rounded once; dbias = sum_columns(dp);
/// with dp = merge_heads(dy). Keeps x and the stacked weights.
std::vector<Var> project_heads(const std::vector<HeadProjection>& projections, const Var& x, std::int64_t batch,
                               std::int64_t heads);

}  // namespace lacuna
