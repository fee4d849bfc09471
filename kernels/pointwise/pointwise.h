// Elementwise kernels: float, Bf16, on the CPU double. bf16 is computed in f32 and rounded once. Outputs may be one of the inputs (in place); other overlap is not allowed.   n: elements.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

enum class Binary : std::uint8_t { add, sub, mul };

/// out[i] = a[i] op b[i].
template <class T>
void binary(CpuStream, Binary op, const T* a, const T* b, T* out, std::int64_t n);
template <class T>
void binary(CudaStream, Binary op, const T* a, const T* b, T* out, std::int64_t n);

/// out[i] = factor * a[i].
template <class T>
void scale(CpuStream, const T* a, double factor, T* out, std::int64_t n);
template <class T>
void scale(CudaStream, const T* a, double factor, T* out, std::int64_t n);

/// y[i] = activation(x[i]).
template <class T>
void activation(CpuStream, Activation activation, const T* x, T* y, std::int64_t n);
template <class T>
void activation(CudaStream, Activation activation, const T* x, T* y, std::int64_t n);

/// dx[i] = dy[i] * activation'(.). `saved` is the activation's input; for relu its output serves as well.
template <class T>
void activation_gradient(CpuStream, Activation activation, const T* saved, const T* dy, T* dx, std::int64_t n);
template <class T>
void activation_gradient(CudaStream, Activation activation, const T* saved, const T* dy, T* dx, std::int64_t n);

/// y = activation(x + bias[row]) for matrices x, y [m, n] (one each; their batch fields are not read).
/// epilogue.bias may be null; for bf16 it is f32.
template <class T>
void apply_epilogue(CpuStream, const Dense<const T>& x, const Epilogue<const acc_t<T>>& epilogue, const Dense<T>& y);
template <class T>
void apply_epilogue(CudaStream, const Dense<const T>& x, const Epilogue<const acc_t<T>>& epilogue, const Dense<T>& y);

}  // namespace lacuna::kernels
