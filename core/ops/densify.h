// Between sparse and dense storage.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// Dense [rows, cols] (or [batch, rows, cols]) of a, absent entries 0. Gradient: sample.
Tensor densify(const SparseTensor& a);
Var densify(const SparseVar& a);

/// The same for a scratch that dies within a product. On CUDA, where an entry in eight or more is there, by the bit masks of
/// the pattern's SDDMM plan, which is then kept with the pattern. The same bits.
Tensor densify_for_product(const SparseTensor& a);
bool takes_masks(const Topology& pattern);  ///< whether so many are there

/// The entries of `dense`, [rows, cols] or [batch, rows, cols], at a pattern: values [nnz] or [batch, nnz]. Entries
/// beside the pattern are never read. Throws ShapeError, DtypeError, DeviceError. Gradient: densify.
SparseTensor sample(const Tensor& dense, const TopologyPtr& pattern);
SparseVar sample(const Var& dense, const TopologyPtr& pattern);

}  // namespace lacuna
