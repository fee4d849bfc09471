// Batch norm on CUDA. Every reduction has two stages: a block per (channel, chunk of columns), then a warp per channel
// that combines the chunks in order and in double. No atomics, so the bits repeat.
#include <cstdint>
#include <type_traits>

#include "kernels/batch_norm/batch_norm.h"
#include "kernels/common/chunks.h"
#include "kernels/common/quad.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kApplySpan = kThreads * 4 * 4;  // columns per block of the elementwise kernels: four float4 per thread

// Count, mean and sum of squared deviations of a set of numbers, as Chan et al. combine them.
template <class T>
struct Moments {
  T count, mean, m2;
};

template <class T>
__device__ Moments<T> combine(const Moments<T>& a, const Moments<T>& b) {
  const T count = a.count + b.count;
  if (count == T(0)) return a;
  const T delta = b.mean - a.mean;
  const T share = b.count / count;
  return {count, a.mean + delta * share, a.m2 + b.m2 + delta * delta * a.count * share};
}

template <class T>
__device__ Moments<T> warp_combine(Moments<T> own) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Moments<T> other{__shfl_down_sync(0xffffffffu, own.count, offset),
                           __shfl_down_sync(0xffffffffu, own.mean, offset),
                           __shfl_down_sync(0xffffffffu, own.m2, offset)};
    own = combine(own, other);
  }
  return own;  // lane 0's
}

// kVector adjacent columns: four at once, eight of bf16, or one where rows are not aligned.
template <int kVector>
struct Pack {
  float v[kVector];
};

template <int kVector, class T>
__device__ __forceinline__ Pack<kVector> load(const T* p) {
  Pack<kVector> pack;
  if constexpr (kVector == 4) {
    const float4 value = load_quad(p);
    pack.v[0] = value.x, pack.v[1] = value.y, pack.v[2] = value.z, pack.v[3] = value.w;
  } else if constexpr (kVector == 8) {
    static_assert(sizeof(T) == 2);
    const uint4 value = *reinterpret_cast<const uint4*>(p);
    const std::uint32_t words[4] = {value.x, value.y, value.z, value.w};  // the lower half of a word comes first
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      pack.v[2 * i] = __uint_as_float(words[i] << 16);
      pack.v[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
    }
  } else {
    pack.v[0] = *p;
  }
  return pack;
}

template <int kVector, class T>
__device__ __forceinline__ void store(T* p, const Pack<kVector>& pack) {
  if constexpr (kVector == 4) {
    store_quad(p, make_float4(pack.v[0], pack.v[1], pack.v[2], pack.v[3]));
  } else {
    *p = static_cast<T>(pack.v[0]);
  }
}

// A block's channel and piece of its columns, from a flat grid.
struct Piece {
  std::int64_t channel, begin;
  int index, length;
};

__device__ __forceinline__ Piece piece_of(std::int64_t cols, Chunks chunks) {
  const std::int64_t channel = blockIdx.x / chunks.count;
  const std::int64_t index = blockIdx.x % chunks.count;
  const std::int64_t begin = index * chunks.size;
  return {channel, begin, static_cast<int>(index), static_cast<int>(min(chunks.size, cols - begin))};
}

// Each thread shifts by its own first element: it is one of the numbers summed, so the deviations from it are never
// large against their spread, and the subtraction in m2 loses little.
template <int kVector, class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_moments_kernel(Dense<const T> x, Chunks chunks, Moments<float>* __restrict__ partials) {
  __shared__ Moments<float> shared[kThreads / kWarp];
  const Piece piece = piece_of(x.cols, chunks);
  const T* __restrict__ row = x.data + piece.channel * x.ld + piece.begin;
  const int first = threadIdx.x * kVector;
  const float shift = first < piece.length ? static_cast<float>(row[first]) : 0.0f;
  float sum = 0;
  float square = 0;
  int count = 0;
#pragma unroll 4
  for (int j = first; j < piece.length; j += kThreads * kVector) {
    const Pack<kVector> values = load<kVector>(row + j);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      const float shifted = values.v[i] - shift;
      sum += shifted;
      square += shifted * shifted;
    }
    count += kVector;
  }
  Moments<float> own{0, 0, 0};
  if (count > 0) {
    const float mean = sum / static_cast<float>(count);
    own = {static_cast<float>(count), shift + mean, square - sum * mean};
  }
  own = warp_combine(own);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kThreads / kWarp; ++warp) own = combine(own, shared[warp]);
    partials[blockIdx.x] = own;
  }
}

// Stage two: one warp per channel.
__global__ void __launch_bounds__(kSumThreads)
    batch_norm_finish_kernel(const Moments<float>* __restrict__ partials, std::int64_t channels, std::int64_t count,
                             double eps, RunningStatistics<float> running, ChannelStatistics<float> statistics) {
  const std::int64_t channel = (std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x) / kWarp;
  if (channel >= channels) return;
  const int lane = threadIdx.x % kWarp;
  Moments<double> own{0, 0, 0};
  for (std::int64_t i = lane; i < count; i += kWarp) {
    const Moments<float> part = partials[channel * count + i];
    own = combine(own, Moments<double>{part.count, part.mean, part.m2});
  }
  own = warp_combine(own);
  if (lane != 0) return;
  // Rounding can leave a tiny negative m2; written so that NaN stays NaN.
  const double m2 = own.m2 < 0 ? 0 : own.m2;
  statistics.mean[channel] = static_cast<float>(own.mean);
  statistics.invstd[channel] = static_cast<float>(1.0 / sqrt(m2 / own.count + eps));
  const double keep = 1.0 - running.momentum;
  running.mean[channel] = static_cast<float>(keep * running.mean[channel] + running.momentum * own.mean);
  running.var[channel] = static_cast<float>(keep * running.var[channel] + running.momentum * (m2 / (own.count - 1)));
}

__global__ void batch_norm_frozen_kernel(std::int64_t channels, double eps, const float* __restrict__ running_mean,
                                         const float* __restrict__ running_var, ChannelStatistics<float> statistics) {
  const std::int64_t channel = std::int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  statistics.mean[channel] = running_mean[channel];
  statistics.invstd[channel] = static_cast<float>(1.0 / sqrt(double{running_var[channel]} + eps));
}

template <int kVector, class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_apply_kernel(Dense<const T> x, ChannelStatistics<const float> statistics, const float* __restrict__ gain,
                            const float* __restrict__ bias, Dense<T> y, Chunks chunks) {
  const Piece piece = piece_of(x.cols, chunks);
  const T* __restrict__ row = x.data + piece.channel * x.ld + piece.begin;
  T* __restrict__ out = y.data + piece.channel * y.ld + piece.begin;
  const float mean = statistics.mean[piece.channel];
  const float scale = gain[piece.channel] * statistics.invstd[piece.channel];
  const float shift = bias[piece.channel];
#pragma unroll 4
  for (int j = threadIdx.x * kVector; j < piece.length; j += kThreads * kVector) {
    Pack<kVector> values = load<kVector>(row + j);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values.v[i] = (values.v[i] - mean) * scale + shift;
    store<kVector, T>(out + j, values);
  }
}

// Stage one of the parameter gradients. partials is [2, c, chunks]: sums of dy * xhat, then of dy.
template <int kVector, class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_dparams_kernel(Dense<const T> x, Dense<const T> dy, ChannelStatistics<const float> statistics,
                              Chunks chunks, float* __restrict__ partials) {
  __shared__ float shared[2 * kWarp];
  const Piece piece = piece_of(x.cols, chunks);
  const T* __restrict__ row = x.data + piece.channel * x.ld + piece.begin;
  const T* __restrict__ drow = dy.data + piece.channel * dy.ld + piece.begin;
  const float mean = statistics.mean[piece.channel];
  float sums[2] = {};
#pragma unroll 4
  for (int j = threadIdx.x * kVector; j < piece.length; j += kThreads * kVector) {
    const Pack<kVector> values = load<kVector>(row + j);
    const Pack<kVector> gradients = load<kVector>(drow + j);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      sums[0] += gradients.v[i] * (values.v[i] - mean);
      sums[1] += gradients.v[i];
    }
  }
  block_sum(sums, shared);
  if (threadIdx.x != 0) return;
  partials[blockIdx.x] = sums[0] * statistics.invstd[piece.channel];
  partials[x.rows * chunks.count + blockIdx.x] = sums[1];
}

template <int kVector, class T>
__global__ void __launch_bounds__(kThreads)
    batch_norm_dx_kernel(Dense<const T> x, Dense<const T> dy, ChannelStatistics<const float> statistics,
                         const float* __restrict__ gain, const float* __restrict__ dgain,
                         const float* __restrict__ dbias, Dense<T> dx, Chunks chunks) {
  const Piece piece = piece_of(x.cols, chunks);
  const T* __restrict__ row = x.data + piece.channel * x.ld + piece.begin;
  const T* drow = dy.data + piece.channel * dy.ld + piece.begin;
  T* out = dx.data + piece.channel * dx.ld + piece.begin;  // may be drow
  const float invstd = statistics.invstd[piece.channel];
  const float factor = gain[piece.channel] * invstd;
  if (dgain == nullptr) {
#pragma unroll 4
    for (int j = threadIdx.x * kVector; j < piece.length; j += kThreads * kVector) {
      Pack<kVector> gradients = load<kVector>(drow + j);
#pragma unroll
      for (int i = 0; i < kVector; ++i) gradients.v[i] *= factor;
      store<kVector, T>(out + j, gradients);
    }
    return;
  }
  const float mean = statistics.mean[piece.channel];
  const float scale = 1.0f / static_cast<float>(x.cols);
  const float mean_dy = dbias[piece.channel] * scale;
  const float slope = dgain[piece.channel] * scale * invstd;
#pragma unroll 4
  for (int j = threadIdx.x * kVector; j < piece.length; j += kThreads * kVector) {
    const Pack<kVector> values = load<kVector>(row + j);
    Pack<kVector> gradients = load<kVector>(drow + j);
#pragma unroll
    for (int i = 0; i < kVector; ++i)
      gradients.v[i] = factor * (gradients.v[i] - mean_dy - (values.v[i] - mean) * slope);
    store<kVector, T>(out + j, gradients);
  }
}

template <class T>
bool aligned(const T* pointer, std::int64_t ld) {
  return quad_aligned(pointer) && ld % 4 == 0;
}

// Calls launch with 4 when rows can be read four at a time (chunks begin at multiples of 4), else with 1.
template <class F>
void with_vector(bool vector, F&& launch) {
  if (vector) return launch(std::integral_constant<int, 4>{});
  launch(std::integral_constant<int, 1>{});
}

template <class T>
Chunks reduction_chunks(CudaStream stream, const Dense<const T>& x) {
  return plan_chunks(x.rows, x.cols, stream.multiprocessors, kThreads * 4);
}

Chunks apply_chunks(std::int64_t cols) { return {kApplySpan, (cols + kApplySpan - 1) / kApplySpan}; }

}  // namespace

template <class T>
std::size_t batch_norm_scratch_bytes(CudaStream stream, const Dense<const T>& x) {
  static_assert(sizeof(Moments<float>) >= 2 * sizeof(float));
  return static_cast<std::size_t>(x.rows * reduction_chunks(stream, x).count) * sizeof(Moments<float>);
}

template <class T>
void batch_norm_statistics(CudaStream stream, const Dense<const T>& x, double eps, RunningStatistics<acc_t<T>> running,
                           ChannelStatistics<acc_t<T>> statistics, void* scratch) {
  if (x.rows == 0) return;
  const Chunks chunks = reduction_chunks(stream, x);
  const auto handle = (cudaStream_t)stream.handle;
  auto* partials = static_cast<Moments<float>*>(scratch);
  const auto launch = [&](auto vector) {
    batch_norm_moments_kernel<decltype(vector)::value>
        <<<static_cast<unsigned>(x.rows * chunks.count), kThreads, 0, handle>>>(x, chunks, partials);
  };
  if constexpr (sizeof(T) == 2) {  // 16 bytes of bf16; chunks begin at multiples of eight
    if (x.cols % 8 == 0 && x.ld % 8 == 0 && reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0)
      launch(std::integral_constant<int, 8>{});
    else
      with_vector(x.cols % 4 == 0 && aligned(x.data, x.ld), launch);
  } else {
    with_vector(x.cols % 4 == 0 && aligned(x.data, x.ld), launch);
  }
  LACUNA_CUDA_LAUNCHED("batch_norm_moments");
  batch_norm_finish_kernel<<<sum_partials_blocks(x.rows), kSumThreads, 0, handle>>>(partials, x.rows, chunks.count, eps,
                                                                                    running, statistics);
  LACUNA_CUDA_LAUNCHED("batch_norm_finish");
}

template <class T>
void batch_norm_frozen_statistics(CudaStream stream, std::int64_t channels, double eps, const acc_t<T>* running_mean,
                                  const acc_t<T>* running_var, ChannelStatistics<acc_t<T>> statistics) {
  if (channels == 0) return;
  batch_norm_frozen_kernel<<<static_cast<unsigned>((channels + 127) / 128), 128, 0, (cudaStream_t)stream.handle>>>(
      channels, eps, running_mean, running_var, statistics);
  LACUNA_CUDA_LAUNCHED("batch_norm_frozen");
}

template <class T>
void batch_norm_apply(CudaStream stream, const Dense<const T>& x, ChannelStatistics<const acc_t<T>> statistics,
                      const acc_t<T>* gain, const acc_t<T>* bias, const Dense<T>& y) {
  if (x.rows == 0 || x.cols == 0) return;
  const Chunks chunks = apply_chunks(x.cols);
  with_vector(x.cols % 4 == 0 && aligned(x.data, x.ld) && aligned(y.data, y.ld), [&](auto vector) {
    batch_norm_apply_kernel<decltype(vector)::value>
        <<<static_cast<unsigned>(x.rows * chunks.count), kThreads, 0, (cudaStream_t)stream.handle>>>(
            x, statistics, gain, bias, y, chunks);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_apply");
}

template <class T>
void batch_norm_dparams(CudaStream stream, const Dense<const T>& x, const Dense<const T>& dy,
                        ChannelStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void* scratch) {
  if (x.rows == 0) return;
  const Chunks chunks = reduction_chunks(stream, x);
  const auto handle = (cudaStream_t)stream.handle;
  auto* partials = static_cast<float*>(scratch);
  with_vector(x.cols % 4 == 0 && aligned(x.data, x.ld) && aligned(dy.data, dy.ld), [&](auto vector) {
    batch_norm_dparams_kernel<decltype(vector)::value>
        <<<static_cast<unsigned>(x.rows * chunks.count), kThreads, 0, handle>>>(x, dy, statistics, chunks, partials);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_dparams");
  const unsigned blocks = sum_partials_blocks(x.rows);
  sum_partials<<<blocks, kSumThreads, 0, handle>>>(partials, x.rows, chunks.count, dgain);
  sum_partials<<<blocks, kSumThreads, 0, handle>>>(partials + x.rows * chunks.count, x.rows, chunks.count, dbias);
  LACUNA_CUDA_LAUNCHED("sum_partials");
}

template <class T>
void batch_norm_dx(CudaStream stream, const Dense<const T>& x, const Dense<const T>& dy,
                   ChannelStatistics<const acc_t<T>> statistics, const acc_t<T>* gain, const acc_t<T>* dgain,
                   const acc_t<T>* dbias, const Dense<T>& dx) {
  if (x.rows == 0 || x.cols == 0) return;
  const Chunks chunks = apply_chunks(x.cols);
  const bool vector = x.cols % 4 == 0 && aligned(x.data, x.ld) && aligned(dy.data, dy.ld) && aligned(dx.data, dx.ld);
  with_vector(vector, [&](auto width) {
    batch_norm_dx_kernel<decltype(width)::value>
        <<<static_cast<unsigned>(x.rows * chunks.count), kThreads, 0, (cudaStream_t)stream.handle>>>(
            x, dy, statistics, gain, dgain, dbias, dx, chunks);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_dx");
}

#define LACUNA_INSTANTIATE(T)                                                                                        \
  template std::size_t batch_norm_scratch_bytes<T>(CudaStream, const Dense<const T>&);                               \
  template void batch_norm_statistics<T>(CudaStream, const Dense<const T>&, double, RunningStatistics<float>,        \
                                         ChannelStatistics<float>, void*);                                           \
  template void batch_norm_frozen_statistics<T>(CudaStream, std::int64_t, double, const float*, const float*,        \
                                                ChannelStatistics<float>);                                           \
  template void batch_norm_apply<T>(CudaStream, const Dense<const T>&, ChannelStatistics<const float>, const float*, \
                                    const float*, const Dense<T>&);                                                  \
  template void batch_norm_dparams<T>(CudaStream, const Dense<const T>&, const Dense<const T>&,                      \
                                      ChannelStatistics<const float>, float*, float*, void*);                        \
  template void batch_norm_dx<T>(CudaStream, const Dense<const T>&, const Dense<const T>&,                           \
                                 ChannelStatistics<const float>, const float*, const float*, const float*,           \
                                 const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
