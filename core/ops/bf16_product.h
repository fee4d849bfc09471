// bf16 products with a sparse operand that becomes dense while it is multiplied (kernels/bf16_product). The dense route's
// copy of A hides under the product.
#pragma once

#include "core/topology.h"
#include "kernels/runtime/views.h"

namespace lacuna {

/// out = activation(op(A) B + bias), op(A) = A or A^T, rounded once; A's dense image dies with the call. False, with nothing
/// done, where this cannot be: not bf16 on CUDA of compute capability 9.0, switched off (KernelSet::bf16_product), a batch,
/// an empty operand, rows of b that do not start on 16 bytes. Overwrites out, which must not overlap b.
bool spmm_densifying(const Tensor& out, const SparseTensor& a, const Tensor& b, bool transpose_a,
                     const Tensor& bias = {}, Activation activation = Activation::none);

/// Whether that is predicted to be faster than densifying first and cuBLASLt: a pure function of C [m, n], the sum's length
/// k and A's entries, by a model fitted to measurements on an H100 (docs/kernels/bf16_product.md).
bool densifying_pays(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz);

}  // namespace lacuna
