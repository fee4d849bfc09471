// SDDMM: values of (A B^T) at the entries of a pattern. The gradient of a sparse weight, and attention's scores.
//   A [m, k]     B [n, k]     C pattern [m, n], its values overwritten: c[i] = scale * dot(A[row i], B[col i])
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// The CPU packs B by the caller's scratch, of sddmm_scratch_bytes; CUDA needs none.
template <class T>
std::size_t sddmm_scratch_bytes(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c);
template <class T>
void sddmm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale, void* scratch);

/// Gale et al., SC 2020, section VI. T: float.
template <class T>
void sddmm(CudaStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale);

}  // namespace lacuna::kernels
