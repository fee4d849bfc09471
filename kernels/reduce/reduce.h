// Sums in a fixed order: bits depend on sizes alone, never on thread counts or scheduling.
// Two stages: partial sums of fixed chunks into `scratch` (double), then the chunks in order.
//   n: elements      x [m, n] for sums along rows      sums of bf16 are f32
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// One array among several that are reduced together.
template <class T>
struct Span {  // not std::span: it crosses into CUDA kernels by value
  const T* data = nullptr;
  std::int64_t size = 0;
};

std::size_t sum_scratch_bytes(CpuStream, std::int64_t n);
std::size_t sum_scratch_bytes(CudaStream, std::int64_t n);
/// out[0] = factor * sum of x; 0 for an empty x.
template <class T>
void sum(CpuStream, const T* x, std::int64_t n, double factor, acc_t<T>* out, void* scratch);
template <class T>
void sum(CudaStream, const T* x, std::int64_t n, double factor, acc_t<T>* out, void* scratch);

std::size_t sum_columns_scratch_bytes(CpuStream, std::int64_t m, std::int64_t n);
std::size_t sum_columns_scratch_bytes(CudaStream, std::int64_t m, std::int64_t n);
/// out[i] = sum over columns of x[i, :].
template <class T>
void sum_columns(CpuStream, const Dense<const T>& x, acc_t<T>* out, void* scratch);
template <class T>
void sum_columns(CudaStream, const Dense<const T>& x, acc_t<T>* out, void* scratch);

template <class T>
std::size_t sum_of_squares_scratch_bytes(CpuStream, const Span<T>* spans, std::int64_t count);
template <class T>
std::size_t sum_of_squares_scratch_bytes(CudaStream, const Span<T>* spans, std::int64_t count);
/// out[0] = sum of squares of every element of every span. `spans` is a host array, read before returning.
template <class T>
void sum_of_squares(CpuStream, const Span<T>* spans, std::int64_t count, acc_t<T>* out, void* scratch);
template <class T>
void sum_of_squares(CudaStream, const Span<T>* spans, std::int64_t count, acc_t<T>* out, void* scratch);

/// y[i, j] = factor * row_values[i]: gradients of the sums above (m = 1 for a full sum). row_values is on the device.
template <class T>
void broadcast_rows(CpuStream, const acc_t<T>* row_values, double factor, T* y, std::int64_t m, std::int64_t n);
template <class T>
void broadcast_rows(CudaStream, const acc_t<T>* row_values, double factor, T* y, std::int64_t m, std::int64_t n);

}  // namespace lacuna::kernels
