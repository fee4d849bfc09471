// Batch norm and ReLU in one: y = relu(gain * (x - mean) * invstd + bias) over the rows of a CNHW activation.
// Statistics are those of kernels/batch_norm.
//   c: channels (rows)   n: columns (batch, height, width)   [c, n] arrays are contiguous
//   T: stored type of activations   A = wide_t<T>: of everything else, all [c]
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// The map of every channel.
template <class T>
struct ChannelNorm {
  using A = wide_t<T>;
  const A* mean = nullptr;
  const A* invstd = nullptr;
  const A* gain = nullptr;
  const A* bias = nullptr;
};

/// y may be x. A NaN stays one.
template <class T>
void batch_norm_relu(CpuStream, std::int64_t c, std::int64_t n, const T* x, const ChannelNorm<T>& norm, T* y);
template <class T>
void batch_norm_relu(CudaStream, std::int64_t c, std::int64_t n, const T* x, const ChannelNorm<T>& norm, T* y);

/// With dz = dy where the output is positive, else 0 (the sign is computed again from x, as the forward pass did: it
/// costs two operations and spares a read of y), and xhat = (x - mean) * invstd:
///   dgain = sum_j dz * xhat,  dbias = sum_j dz.   One pass over x and dy.
template <class T>
std::size_t batch_norm_relu_scratch_bytes(CpuStream, std::int64_t c, std::int64_t n);
template <class T>
std::size_t batch_norm_relu_scratch_bytes(CudaStream, std::int64_t c, std::int64_t n);
template <class T>
void batch_norm_relu_dparams(CpuStream, std::int64_t c, std::int64_t n, const T* x, const T* dy,
                             const ChannelNorm<T>& norm, wide_t<T>* dgain, wide_t<T>* dbias, void* scratch);
template <class T>
void batch_norm_relu_dparams(CudaStream, std::int64_t c, std::int64_t n, const T* x, const T* dy,
                             const ChannelNorm<T>& norm, wide_t<T>* dgain, wide_t<T>* dbias, void* scratch);

/// dx = gain * invstd * (dz - dbias / n - xhat * dgain / n); with null dgain and dbias the statistics are constants
/// (evaluation) and dx = gain * invstd * dz. dx may be dy.
template <class T>
void batch_norm_relu_dx(CpuStream, std::int64_t c, std::int64_t n, const T* x, const T* dy, const ChannelNorm<T>& norm,
                        const wide_t<T>* dgain, const wide_t<T>* dbias, T* dx);
template <class T>
void batch_norm_relu_dx(CudaStream, std::int64_t c, std::int64_t n, const T* x, const T* dy, const ChannelNorm<T>& norm,
                        const wide_t<T>* dgain, const wide_t<T>* dbias, T* dx);

}  // namespace lacuna::kernels
