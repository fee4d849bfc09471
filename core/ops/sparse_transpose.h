// Transpose of a sparse matrix: the pattern's transpose is cached in its Topology, so only values move.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// A^T. values [nnz] or [batch, nnz], gathered by the cached permutation. Gradient: the gather's inverse, exact.
SparseTensor transpose(const SparseTensor& a);
SparseVar transpose(const SparseVar& a);

}  // namespace lacuna
