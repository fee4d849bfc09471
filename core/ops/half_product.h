// TF32 products by way of f16 copies scaled by powers of two (kernels/half_product): as accurate as TF32 but for the range
// of one matrix, at f16's rate. Two thirds of TF32's time where a product is large enough to pay for its copies.
#pragma once

#include "core/topology.h"
#include "kernels/runtime/views.h"

namespace lacuna {

/// out [m, n] = activation(A B + bias), A densified; the copies die with the call. False, with nothing done, where this
/// cannot be: not f32 on CUDA, a batch of several, nothing to multiply, no f16 kernel in cuBLASLt. Overwrites out, which
/// must not overlap b. Numbers of B below 2^-29 of the largest in their row of B, and of A below 2^-29 of the largest
/// product of A's and B's largest numbers, lose relative accuracy. A NaN or infinity in b reaches its whole column of C.
bool spmm_in_half(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias, Activation activation);

/// values [nnz] = factor * (A B^T) on the pattern, by tiles of f16 copies (kernels/sddmm/sddmm_tiles.h). False, with nothing
/// done, where this cannot be: not f32 on CUDA of compute capability 9.0, a batch of several, nothing to multiply. Numbers
/// below 2^-29 of the largest in their row of a or b lose relative accuracy.
bool sddmm_in_half(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor);

}  // namespace lacuna
