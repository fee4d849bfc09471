// SpMM: C = epilogue(A B), A sparse. The forward pass of every sparse layer and, on A's transpose, its input gradient.
//   A [m, k] sparse, nnz values     B [k, n]     C [m, n], overwritten     batch: A's values and B, C vary, the pattern does not
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Bytes of scratch that spmm needs for this problem; the caller provides them.
template <class T>
std::size_t spmm_scratch_bytes(CpuStream, const Csr<const T>& a, const Dense<const T>& b);
template <class T>
void spmm(CpuStream, const Csr<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const Epilogue<const T>& epilogue, void* scratch);

/// The paper's one-dimensional tiling (Gale et al., SC 2020, section V). T: float.
template <class T>
std::size_t spmm_scratch_bytes(CudaStream, const Csr<const T>& a, const Dense<const T>& b);
template <class T>
void spmm(CudaStream, const Csr<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const Epilogue<const T>& epilogue, void* scratch);

}  // namespace lacuna::kernels
