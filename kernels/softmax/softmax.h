// Softmax over rows, optionally causal.
//   x, y, p, dp, dx [rows, cols], contiguous. Causal: the rows are a batch of cols x cols score matrices; row i of each
//   keeps columns 0..i, the others get probability exactly 0 and are never read.
#pragma once

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[r, :] = softmax(scale * x[r, :]).
template <class T>
void softmax(CpuStream, const Dense<const T>& x, double scale, bool causal, const Dense<T>& y);
template <class T>
void softmax(CudaStream, const Dense<const T>& x, double scale, bool causal, const Dense<T>& y);

/// dx = scale * p * (dp - sum_j p dp); excluded entries of dx are 0. dx may be dp.
template <class T>
void softmax_dx(CpuStream, const Dense<const T>& p, const Dense<const T>& dp, double scale, bool causal,
                const Dense<T>& dx);
template <class T>
void softmax_dx(CudaStream, const Dense<const T>& p, const Dense<const T>& dp, double scale, bool causal,
                const Dense<T>& dx);

}  // namespace lacuna::kernels
