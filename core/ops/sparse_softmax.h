// Softmax over the stored entries of each row of a sparse matrix.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// softmax(scale * s) over each row's stored entries; absent entries count as -infinity, an empty row stays empty.
///   s  values [nnz] or [batch, nnz]; returns the same over the same pattern
/// Throws ShapeError, DtypeError. Gradient: scale * p * (dp - sum over the row of p * dp); keeps p, not s.
SparseTensor sparse_softmax(const SparseTensor& s, double scale = 1);
SparseVar sparse_softmax(const SparseVar& s, double scale = 1);

/// The same, overwriting `p`, which may be s.values. Not on the tape.
void sparse_softmax_into(const Tensor& p, const SparseTensor& s, double scale);

/// The gradient above as an op of its own: p and dp over p's pattern. Not on the tape. The second form overwrites `ds`,
/// which may be dp.
Tensor sparse_softmax_backward(const SparseTensor& p, const Tensor& dp, double scale = 1);
void sparse_softmax_backward_into(const Tensor& ds, const SparseTensor& p, const Tensor& dp, double scale);

}  // namespace lacuna
