// Softmax over the stored entries of each row. Absent entries count as -infinity; an empty row stays empty.
#pragma once

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// p.values = softmax(scale * s.values) by rows, max-shifted. p and s share the pattern; p.values may be s.values.
template <class T>
void sparse_softmax(CpuStream, const Csr<const T>& s, T scale, T* p);
template <class T>
void sparse_softmax(CudaStream, const Csr<const T>& s, T scale, T* p);

/// ds = scale * p * (dp - sum over the row of p * dp).   p carries the pattern; dp, ds [batch, nnz]; ds may be dp.
template <class T>
void sparse_softmax_backward(CpuStream, const Csr<const T>& p, const T* dp, T scale, T* ds);
template <class T>
void sparse_softmax_backward(CudaStream, const Csr<const T>& p, const T* dp, T scale, T* ds);

}  // namespace lacuna::kernels
