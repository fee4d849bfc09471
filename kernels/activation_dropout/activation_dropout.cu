// Bias + activation + dropout on CUDA: a block per (row, piece of its columns), so that the bias is read once a block
// and its gradient is the sum of what the block wrote.
#include <type_traits>

#include "kernels/activation_dropout/activation_dropout.h"
#include "kernels/common/bf16_pack.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/row_piece.cuh"
#include "kernels/dropout/word_dropout.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 4;  // of a thread, read before the first is written: a load behind a store waits for it
// Calls load(i, j) for kPacks packs of this thread that lie kStep columns apart, then use(i, j) for each, until the piece
// is done. Columns in ascending order, so that sums do not depend on kPacks.
template <int kVector, class Load, class Use>
__device__ __forceinline__ void for_packs(int length, Load&& load, Use&& use) {
  constexpr int kStep = kThreads * kVector;
  for (int first = threadIdx.x * kVector; first < length; first += kPacks * kStep) {
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      if (first + i * kStep < length) load(i, first + i * kStep);
#pragma unroll
    for (int i = 0; i < kPacks; ++i)
      if (first + i * kStep < length) use(i, first + i * kStep);
  }
}

/// A pack as it is moved, and the numbers in it.
template <class T, int kVector>
struct Numbers {
  Pack<T, kVector> pack;
  __device__ __forceinline__ void load(const T* p) { pack = load_pack<kVector>(p); }
  __device__ __forceinline__ void get(float (&values)[kVector]) const {
#pragma unroll
    for (int v = 0; v < kVector; ++v) values[v] = static_cast<float>(pack.v[v]);
  }
  static __device__ __forceinline__ void store(T* p, const float (&values)[kVector]) {
    Pack<T, kVector> out;
#pragma unroll
    for (int v = 0; v < kVector; ++v) out.v[v] = static_cast<T>(values[v]);
    store_pack<kVector>(p, out);
  }
};
template <>
struct Numbers<Bf16, 8> {
  uint4 pack;
  __device__ __forceinline__ void load(const Bf16* p) { pack = *reinterpret_cast<const uint4*>(p); }
  __device__ __forceinline__ void get(float (&values)[8]) const { unpack_bf16(pack, values); }
  static __device__ __forceinline__ void store(Bf16* p, const float (&values)[8]) {
    *reinterpret_cast<uint4*>(p) = pack_bf16(values);
  }
};

constexpr int kHeld = 2;  // packs of a thread

/// Grid: rows * chunks, a chunk the columns that a block holds. Philox takes half of what a multiprocessor has time for
/// while memory delivers, so masks are drawn while the packs are on their way.
template <class T, int kVector, Activation kActivation>
__global__ void __launch_bounds__(kThreads, 6)
    activation_dropout_kernel(const ActivationDropout<T> c, unsigned chunks) {
  constexpr int kStep = kThreads * kVector;
  const std::int64_t row = blockIdx.x / chunks;
  const std::int64_t first = std::int64_t{blockIdx.x % chunks} * (kStep * kHeld) + threadIdx.x * kVector;
  const std::int64_t begin = row * c.n;
  Numbers<T, kVector> packs[kHeld];
#pragma unroll
  for (int i = 0; i < kHeld; ++i)
    if (first + i * kStep < c.n) packs[i].load(c.x + begin + first + i * kStep);
  const float shift = c.bias == nullptr ? 0.0f : c.bias[row];
  const WordDropout drop(c.dropout);
  std::uint32_t kept[kHeld];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) kept[i] = drop.template kept<kVector>(begin + first + i * kStep);
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (first + i * kStep >= c.n) continue;
    float values[kVector];
    packs[i].get(values);
#pragma unroll
    for (int v = 0; v < kVector; ++v) values[v] = activate(kActivation, values[v] + shift);
    drop.apply(values, kept[i]);
    Numbers<T, kVector>::store(c.y + begin + first + i * kStep, values);
  }
}

// sums [rows * chunks]: of what each block wrote; null when no one asks.
template <class T, int kVector, Activation kActivation>
__global__ void __launch_bounds__(kThreads)
    activation_dropout_gradient_kernel(const ActivationDropoutGradient<T> c, Chunks chunks, wide_t<T>* sums) {
  using A = wide_t<T>;
  __shared__ A shared[kWarp];
  const RowPiece piece = row_piece(c.n, chunks);
  const A shift = c.bias == nullptr ? A(0) : c.bias[piece.row];
  const A keep_scale = static_cast<A>(c.dropout.keep_scale);  // 1 when nothing is dropped
  const WordDropout drop(c.dropout);
  A total[1] = {};
  Pack<T, kVector> gradients[kPacks];
  [[maybe_unused]] Pack<T, kVector> kept[kPacks];  // of saved
  const auto load = [&](int i, int j) {
    gradients[i] = load_pack<kVector>(c.dy + piece.begin + j);
    if constexpr (kActivation != Activation::none) kept[i] = load_pack<kVector>(c.saved + piece.begin + j);
  };
  for_packs<kVector>(piece.length, load, [&](int i, int j) {
    const std::int64_t at = piece.begin + j;
    auto& pack = gradients[i];
    A values[kVector];
#pragma unroll
    for (int v = 0; v < kVector; ++v) values[v] = static_cast<A>(pack.v[v]);
    if constexpr (kActivation == Activation::relu) {  // its output knows what was dropped
#pragma unroll
      for (int v = 0; v < kVector; ++v) values[v] *= keep_scale;
    } else {
      drop(values, at);
    }
    if constexpr (kActivation != Activation::none) {
      const auto& saved = kept[i];
      const A offset = kActivation == Activation::gelu ? shift : A(0);
#pragma unroll
      for (int v = 0; v < kVector; ++v)
        values[v] = activate_gradient(kActivation, static_cast<A>(saved.v[v]) + offset, values[v]);
    }
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      pack.v[v] = static_cast<T>(values[v]);
      total[0] += static_cast<A>(pack.v[v]);
    }
    store_pack<kVector>(c.dx + at, pack);
  });
  if (sums == nullptr) return;
  block_sum(total, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = total[0];
}

// Calls launch(std::integral_constant<Activation, kind>{}).
template <class F>
void with_activation(Activation kind, F&& launch) {
  switch (kind) {
    case Activation::none:
      return launch(std::integral_constant<Activation, Activation::none>{});
    case Activation::relu:
      return launch(std::integral_constant<Activation, Activation::relu>{});
    case Activation::gelu:
      return launch(std::integral_constant<Activation, Activation::gelu>{});
  }
}

Chunks gradient_chunks(const CudaStream& stream, std::int64_t m, std::int64_t n) {
  return plan_chunks(m, n, stream.multiprocessors, kThreads * 4);
}

}  // namespace

template <class T>
void activation_dropout(CudaStream stream, const ActivationDropout<T>& c) {
  if (c.m == 0 || c.n == 0) return;
  with_widest_pack<T>(c.n, {c.x, c.y}, [&](auto vector) {
    constexpr int kSpan = kThreads * kHeld * decltype(vector)::value;
    const std::int64_t chunks = (c.n + kSpan - 1) / kSpan;
    with_activation(c.activation, [&](auto kind) {
      activation_dropout_kernel<T, decltype(vector)::value, decltype(kind)::value>
          <<<static_cast<unsigned>(c.m * chunks), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
              c, static_cast<unsigned>(chunks));
    });
  });
  LACUNA_CUDA_LAUNCHED("activation_dropout");
}

template <class T>
std::size_t activation_dropout_scratch_bytes(CudaStream stream, std::int64_t m, std::int64_t n) {
  return static_cast<std::size_t>(m * gradient_chunks(stream, m, n).count) * sizeof(wide_t<T>);
}

template <class T>
void activation_dropout_gradient(CudaStream stream, const ActivationDropoutGradient<T>& c, void* scratch) {
  if (c.m == 0 || (c.n == 0 && c.dbias == nullptr)) return;
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  const Chunks chunks = gradient_chunks(stream, c.m, c.n);  // at least one, also without columns: its sum is 0
  wide_t<T>* sums = nullptr;
  if (c.dbias != nullptr) sums = chunks.count == 1 ? c.dbias : static_cast<wide_t<T>*>(scratch);
  const bool packed = c.n % 4 == 0 && pack_aligned(c.saved) && pack_aligned(c.dy) && pack_aligned(c.dx);
  with_pack(packed, [&](auto vector) {
    with_activation(c.activation, [&](auto kind) {
      activation_dropout_gradient_kernel<T, decltype(vector)::value, decltype(kind)::value>
          <<<static_cast<unsigned>(c.m * chunks.count), kThreads, 0, handle>>>(c, chunks, sums);
    });
  });
  LACUNA_CUDA_LAUNCHED("activation_dropout_gradient");
  if (sums == c.dbias) return;
  sum_partials<<<sum_partials_blocks(c.m), kSumThreads, 0, handle>>>(sums, c.m, chunks.count, c.dbias);
  LACUNA_CUDA_LAUNCHED("sum_partials");
}

#define LACUNA_INSTANTIATE(T)                                                                       \
  template void activation_dropout<T>(CudaStream, const ActivationDropout<T>&);                     \
  template std::size_t activation_dropout_scratch_bytes<T>(CudaStream, std::int64_t, std::int64_t); \
  template void activation_dropout_gradient<T>(CudaStream, const ActivationDropoutGradient<T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
