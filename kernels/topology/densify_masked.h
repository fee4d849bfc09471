// Densify by the bit masks of an SDDMM plan instead of column indices: for patterns that are not very sparse.
#pragma once

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// As densify (kernels/topology/topology.h): dense [rows, cols] from sparse, absent entries 0, out overwritten wholly.
///   plan  of a's pattern, as sddmm_plan leaves it (kernels/sddmm/sddmm_tiles.h)
/// Reads 12 bytes for 64 columns where densify reads 4 for an entry: less from one entry in twenty on. T: float, Bf16.
template <class T>
void densify_masked(CudaStream, const Csr<const T>& a, const void* plan, const Dense<T>& out);

}  // namespace lacuna::kernels
