// SDDMM: values of (A B^T) at the entries of a pattern. The gradient of a sparse weight, and attention's scores.
//   A [m, k]     B [n, k]     C pattern [m, n], its values overwritten: c[i] = scale * dot(A[row i], B[col i])
#pragma once

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

template <class T>
void sddmm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale);

/// Gale et al., SC 2020, section VI. T: float.
template <class T>
void sddmm(CudaStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale);

}  // namespace lacuna::kernels
