// Many parts: a block takes 32 neighbouring elements; each of its eight warps adds every eighth part, then the first adds
// the eight. Few: a thread adds all parts of its elements.
#include "kernels/common/pack.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sum_parts/sum_parts.h"

namespace lacuna::kernels {
namespace {

constexpr int kWarps = 8;

__global__ void __launch_bounds__(kWarps* kWarp)
    sum_parts_kernel(const float* __restrict__ parts, std::int64_t count, std::int64_t n, float* __restrict__ out) {
  __shared__ double shared[kWarps][kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t i = std::int64_t{blockIdx.x} * kWarp + lane;
  double sum = 0;
  if (i < n) {  // no early return: the barrier below takes the whole block
#pragma unroll 4
    for (std::int64_t s = warp; s < count; s += kWarps) sum += static_cast<double>(parts[s * n + i]);
  }
  shared[warp][lane] = sum;
  __syncthreads();
  if (warp != 0 || i >= n) return;
#pragma unroll
  for (int w = 1; w < kWarps; ++w) sum += shared[w][lane];
  out[i] = static_cast<float>(sum);
}

constexpr int kThreads = 256;
constexpr std::int64_t kFew = 16;

/// kVector divides n.
template <int kVector>
__global__ void __launch_bounds__(kThreads)
    sum_few_parts_kernel(const float* __restrict__ parts, int count, std::int64_t n, float* __restrict__ out) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * kVector;
  if (i >= n) return;
  double sums[kVector] = {};
#pragma unroll 8
  for (int s = 0; s < count; ++s) {
    const Pack<float, kVector> part = load_pack<kVector>(parts + s * n + i);
#pragma unroll
    for (int v = 0; v < kVector; ++v) sums[v] += static_cast<double>(part.v[v]);
  }
  Pack<float, kVector> sum;
#pragma unroll
  for (int v = 0; v < kVector; ++v) sum.v[v] = static_cast<float>(sums[v]);
  store_pack<kVector>(out + i, sum);
}

}  // namespace

template <class T>
void sum_parts(CudaStream stream, const T* parts, std::int64_t count, std::int64_t n, T* out) {
  if (n == 0) return;
  if (count <= kFew) {
    with_pack(n % 4 == 0 && pack_aligned(parts) && pack_aligned(out), [&](auto vector) {
      constexpr int kSpan = kThreads * decltype(vector)::value;
      sum_few_parts_kernel<decltype(vector)::value>
          <<<static_cast<unsigned>((n + kSpan - 1) / kSpan), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
              parts, static_cast<int>(count), n, out);
    });
    LACUNA_CUDA_LAUNCHED("sum_few_parts");
    return;
  }
  sum_parts_kernel<<<static_cast<unsigned>((n + kWarp - 1) / kWarp), kWarps * kWarp, 0,
                     static_cast<cudaStream_t>(stream.handle)>>>(parts, count, n, out);
  LACUNA_CUDA_LAUNCHED("sum_parts");
}

template void sum_parts<float>(CudaStream, const float*, std::int64_t, std::int64_t, float*);

}  // namespace lacuna::kernels
