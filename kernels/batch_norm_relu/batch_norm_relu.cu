// Batch norm + ReLU on CUDA: a block per (channel, piece of its columns), packs of 16 bytes. A thread loads all of its
// packs before it stores the first: input and output may be one array, so the compiler could not move a load ahead of a
// store, and one load in flight a thread does not fill the memory's pipe. The parameters' gradients are summed in two
// stages, in a fixed order: no atomics.
#include <type_traits>

#include "kernels/batch_norm_relu/batch_norm_relu.h"
#include "kernels/common/pack.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/row_piece.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 4;  // of a thread, where nothing is summed

// Columns of a block where nothing is summed.
template <int kVector>
constexpr int kSpan = kThreads* kVector* kPacks;

// Where a thread's pack `i` begins.
template <int kVector>
__device__ __forceinline__ int pack_begin(int i) {
  return (i * kThreads + static_cast<int>(threadIdx.x)) * kVector;
}

// One channel's numbers. Before the ReLU the output is a fused multiply-add, spelled out: forward and backward must
// agree on its sign, whatever the compiler makes of the code around it.
template <class A>
struct Channel {
  A mean, invstd, scale, shift;

  template <class T>
  __device__ Channel(const ChannelNorm<T>& norm, std::int64_t c)
      : mean(norm.mean[c]), invstd(norm.invstd[c]), scale(norm.gain[c] * norm.invstd[c]), shift(norm.bias[c]) {}
  __device__ A before_relu(A x) const { return fma(x - mean, scale, shift); }
  __device__ A gradient(A x, A dy) const { return before_relu(x) <= A(0) ? A(0) : dy; }
};

template <class T, int kVector>
__global__ void __launch_bounds__(kThreads)
    batch_norm_relu_kernel(std::int64_t n, const T* x, ChannelNorm<T> norm, T* y, Chunks chunks) {
  using A = wide_t<T>;
  const RowPiece piece = row_piece(n, chunks);
  const Channel<A> channel(norm, piece.row);
  Pack<T, kVector> packs[kPacks];
#pragma unroll
  for (int i = 0; i < kPacks; ++i)
    if (pack_begin<kVector>(i) < piece.length) packs[i] = load_pack<kVector>(x + piece.begin + pack_begin<kVector>(i));
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (pack_begin<kVector>(i) >= piece.length) return;
#pragma unroll
    for (int v = 0; v < kVector; ++v)
      packs[i].v[v] = static_cast<T>(relu(channel.before_relu(static_cast<A>(packs[i].v[v]))));
    store_pack<kVector>(y + piece.begin + pack_begin<kVector>(i), packs[i]);
  }
}

// partials is [2, c, chunks]: sums of dz * xhat, then of dz.
template <class T, int kVector>
__global__ void __launch_bounds__(kThreads)
    batch_norm_relu_dparams_kernel(std::int64_t c, std::int64_t n, const T* __restrict__ x, const T* __restrict__ dy,
                                   ChannelNorm<T> norm, Chunks chunks, wide_t<T>* __restrict__ partials) {
  using A = wide_t<T>;
  __shared__ A shared[2 * kWarp];
  const RowPiece piece = row_piece(n, chunks);
  const Channel<A> channel(norm, piece.row);
  A sums[2] = {};
#pragma unroll 4
  for (int j = threadIdx.x * kVector; j < piece.length; j += kThreads * kVector) {
    const auto values = load_pack<kVector>(x + piece.begin + j);
    const auto gradients = load_pack<kVector>(dy + piece.begin + j);
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      const A value = static_cast<A>(values.v[v]);
      const A dz = channel.gradient(value, static_cast<A>(gradients.v[v]));
      sums[0] += dz * (value - channel.mean);
      sums[1] += dz;
    }
  }
  block_sum(sums, shared);
  if (threadIdx.x != 0) return;
  partials[blockIdx.x] = sums[0] * channel.invstd;
  partials[c * chunks.count + blockIdx.x] = sums[1];
}

// Stage two, one launch for both: a warp adds a channel's chunks, in order and in double.
template <class A>
__global__ void __launch_bounds__(kSumThreads)
    batch_norm_relu_finish_kernel(const A* __restrict__ partials, std::int64_t c, std::int64_t count,
                                  A* __restrict__ dgain, A* __restrict__ dbias) {
  const std::int64_t row = (std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x) / kWarp;
  if (row >= 2 * c) return;  // a whole warp
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (std::int64_t i = lane; i < count; i += kWarp) sum += partials[row * count + i];
  sum = warp_sum(sum);
  if (lane == 0) (row < c ? dgain : dbias)[row < c ? row : row - c] = static_cast<A>(sum);
}

template <class T, int kVector>
__global__ void __launch_bounds__(kThreads)
    batch_norm_relu_dx_kernel(std::int64_t n, const T* x, const T* dy, ChannelNorm<T> norm, const wide_t<T>* dgain,
                              const wide_t<T>* dbias, T* dx, Chunks chunks) {
  using A = wide_t<T>;
  const RowPiece piece = row_piece(n, chunks);
  const Channel<A> channel(norm, piece.row);
  const A share = A(1) / static_cast<A>(n);
  const bool frozen = dgain == nullptr;
  const A mean_dz = frozen ? A(0) : dbias[piece.row] * share;
  const A slope = frozen ? A(0) : dgain[piece.row] * share * channel.invstd;
  Pack<T, kVector> values[kPacks], gradients[kPacks];
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (pack_begin<kVector>(i) >= piece.length) break;
    values[i] = load_pack<kVector>(x + piece.begin + pack_begin<kVector>(i));
    gradients[i] = load_pack<kVector>(dy + piece.begin + pack_begin<kVector>(i));
  }
#pragma unroll
  for (int i = 0; i < kPacks; ++i) {
    if (pack_begin<kVector>(i) >= piece.length) return;
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      const A value = static_cast<A>(values[i].v[v]);
      const A dz = channel.gradient(value, static_cast<A>(gradients[i].v[v]));
      // Not by way of zeros: in evaluation an infinite x has a gradient of 0, not NaN.
      const A centred = frozen ? dz : dz - mean_dz - (value - channel.mean) * slope;
      gradients[i].v[v] = static_cast<T>(channel.scale * centred);
    }
    store_pack<kVector>(dx + piece.begin + pack_begin<kVector>(i), gradients[i]);
  }
}

Chunks reduction_chunks(const CudaStream& stream, std::int64_t c, std::int64_t n) {
  return plan_chunks(c, n, stream.multiprocessors, kThreads * 4);
}

template <int kVector>
Chunks map_chunks(std::int64_t n) {
  return {kSpan<kVector>, (n + kSpan<kVector> - 1) / kSpan<kVector>};
}

}  // namespace

template <class T>
void batch_norm_relu(CudaStream stream, std::int64_t c, std::int64_t n, const T* x, const ChannelNorm<T>& norm, T* y) {
  if (c == 0 || n == 0) return;
  with_widest_pack<T>(n, {x, y}, [&](auto vector) {
    const Chunks chunks = map_chunks<decltype(vector)::value>(n);
    batch_norm_relu_kernel<T, decltype(vector)::value>
        <<<static_cast<unsigned>(c * chunks.count), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(n, x, norm,
                                                                                                             y, chunks);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_relu");
}

template <class T>
std::size_t batch_norm_relu_scratch_bytes(CudaStream stream, std::int64_t c, std::int64_t n) {
  return static_cast<std::size_t>(2 * c * reduction_chunks(stream, c, n).count) * sizeof(wide_t<T>);
}

template <class T>
void batch_norm_relu_dparams(CudaStream stream, std::int64_t c, std::int64_t n, const T* x, const T* dy,
                             const ChannelNorm<T>& norm, wide_t<T>* dgain, wide_t<T>* dbias, void* scratch) {
  if (c == 0) return;
  const Chunks chunks = reduction_chunks(stream, c, n);  // at least one, also without columns: its sums are 0
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  auto* partials = static_cast<wide_t<T>*>(scratch);
  with_widest_pack<T>(n, {x, dy}, [&](auto vector) {
    batch_norm_relu_dparams_kernel<T, decltype(vector)::value>
        <<<static_cast<unsigned>(c * chunks.count), kThreads, 0, handle>>>(c, n, x, dy, norm, chunks, partials);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_relu_dparams");
  batch_norm_relu_finish_kernel<<<sum_partials_blocks(2 * c), kSumThreads, 0, handle>>>(partials, c, chunks.count,
                                                                                        dgain, dbias);
  LACUNA_CUDA_LAUNCHED("batch_norm_relu_finish");
}

template <class T>
void batch_norm_relu_dx(CudaStream stream, std::int64_t c, std::int64_t n, const T* x, const T* dy,
                        const ChannelNorm<T>& norm, const wide_t<T>* dgain, const wide_t<T>* dbias, T* dx) {
  if (c == 0 || n == 0) return;
  with_widest_pack<T>(n, {x, dy, dx}, [&](auto vector) {
    const Chunks chunks = map_chunks<decltype(vector)::value>(n);
    batch_norm_relu_dx_kernel<T, decltype(vector)::value>
        <<<static_cast<unsigned>(c * chunks.count), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
            n, x, dy, norm, dgain, dbias, dx, chunks);
  });
  LACUNA_CUDA_LAUNCHED("batch_norm_relu_dx");
}

#define LACUNA_INSTANTIATE(T)                                                                                    \
  template void batch_norm_relu<T>(CudaStream, std::int64_t, std::int64_t, const T*, const ChannelNorm<T>&, T*); \
  template std::size_t batch_norm_relu_scratch_bytes<T>(CudaStream, std::int64_t, std::int64_t);                 \
  template void batch_norm_relu_dparams<T>(CudaStream, std::int64_t, std::int64_t, const T*, const T*,           \
                                           const ChannelNorm<T>&, wide_t<T>*, wide_t<T>*, void*);                \
  template void batch_norm_relu_dx<T>(CudaStream, std::int64_t, std::int64_t, const T*, const T*,                \
                                      const ChannelNorm<T>&, const wide_t<T>*, const wide_t<T>*, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
