// Sparse times dense: the forward pass of every sparse layer and, on the transpose, its input gradient.
//   m, k, n: rows of A, columns of A (rows of B), columns of B
#pragma once

#include <memory>

#include "core/gradient_pairs.h"
#include "core/ops/kernel_choice.h"
#include "core/topology.h"

namespace lacuna {

/// C = activation(A B + bias).
///   a     [m, k] sparse; values [nnz], or [batch, nnz] when b is batched too
///   b     [k, n] or [batch, k, n], dtype and device of a's values
///   bias  [m], added along each row, f32 beside bf16; undefined = none
///   returns [m, n] or [batch, m, n]
/// Runs on the sparse kernel, on tensor cores, or as a transient densify + dense product (in TF32 also in scaled f16),
/// whichever core/ops/kernel_choice.h predicts to be fastest. A NaN or infinity in b reaches the rows of C that use it; on
/// the other routes its whole column of C.
/// Throws ShapeError, DtypeError, DeviceError.
/// Gradients: da = sddmm_wide(dc, b) on a's pattern (summed over the batch when a's values are shared); db = A^T dc;
/// dbias [m]. With relu, dc is masked by output > 0; with gelu the product is kept. Where `pairs` is given and a
/// takes a gradient, backward also leaves the operands of da, (dc, b), in it.
Tensor spmm(const SparseTensor& a, const Tensor& b, const Tensor& bias = {}, Activation activation = Activation::none);
Var spmm(const SparseVar& a, const Var& b, const Var& bias = {}, Activation activation = Activation::none,
         const std::shared_ptr<GradientPairs>& pairs = nullptr);

/// C = A^T B, the gradient of spmm by its second operand; a, b and C as spmm's, with [m, n] for b and [k, n] for C.
/// Where the dense route is the fastest, its product turns the scratch: neither a's pattern nor its values are
/// transposed. Else spmm of transpose(a). Not on the tape. Throws as spmm does.
Tensor spmm_transposed(const SparseTensor& a, const Tensor& b);

/// The same, overwriting `out` (which may be a slice and must not overlap b), by the route given; by the sparse one
/// where Route::tensor cannot take these operands, the dense one where Route::half cannot. Not on the tape. The dense
/// route takes a batch only without bias and activation.
void spmm_into(const Tensor& out, const SparseTensor& a, const Tensor& b, Route route, const Tensor& bias = {},
               Activation activation = Activation::none);

/// The problem as the choice between kernels sees it. Checks shapes; throws as spmm does.
ProductShape spmm_problem(const SparseTensor& a, const Tensor& b);

}  // namespace lacuna
