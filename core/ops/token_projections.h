// Products between features-first activations, [features, tokens], and rows of tokens, [tokens, features], on which attention
// works where its kernels take heads as columns of such rows: nothing is transposed.
//   f: features of x   m: features of a projection   n: tokens of the batch
#pragma once

#include <memory>
#include <vector>

#include "core/gradient_pairs.h"
#include "core/topology.h"

namespace lacuna {

struct TokenProjection {
  Var weight;  ///< [m, f], or the values [nnz] of `pattern`; of x's dtype, or f32 beside bf16: rounded on its way
  TopologyPtr pattern;                   ///< [m, f], or null: dense
  Var bias;                              ///< [m], f32 beside bf16, or undefined
  std::shared_ptr<GradientPairs> pairs;  ///< as spmm's; or null
};

/// (w x + bias)^T of each projection, side by side: one product with the weights one above the other, in x's dtype.
///   x [f, n]  ->  [n, count * m]
/// Sparse weights are made dense for the product, in scratch: this is for where spmm would do so. bf16: summed in f32,
/// rounded once; the bias is rounded too.
/// Throws ShapeError (weights must be of one shape), DtypeError, DeviceError, ValueError without projections.
/// Gradients: dw = dp^T x^T, not rounded (matmul_wide), of a sparse weight on its pattern (sddmm_wide); dx = the sum of
/// w^T dp^T, rounded once; dbias = sum_rows(dp). Keeps x and, if all are dense, the stacked weights.
Var project_to_tokens(const std::vector<TokenProjection>& projections, const Var& x);

/// w x^T, back to features first:  x [n, f]  ->  [m, n]. Without a bias, which must be undefined (ValueError); else as above.
/// Gradients: dw = dz x, dx = dz^T w.
Var project_from_tokens(const TokenProjection& projection, const Var& x);

/// Whether spmm would make a weight on `pattern` dense for x [f, columns]; one dense anyway (null) it need not.
bool made_dense(const TopologyPtr& pattern, Device device, DType dtype, std::int64_t columns);

}  // namespace lacuna
