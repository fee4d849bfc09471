// Between sparse and dense storage.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// Dense [rows, cols] (or [batch, rows, cols]) of a, absent entries 0. Gradient: sample.
Tensor densify(const SparseTensor& a);
Var densify(const SparseVar& a);

/// The entries of `dense`, [rows, cols] or [batch, rows, cols], at a pattern: values [nnz] or [batch, nnz]. Entries
/// beside the pattern are never read. Throws ShapeError, DtypeError, DeviceError. Gradient: densify.
SparseTensor sample(const Tensor& dense, const TopologyPtr& pattern);
SparseVar sample(const Var& dense, const TopologyPtr& pattern);

}  // namespace lacuna
