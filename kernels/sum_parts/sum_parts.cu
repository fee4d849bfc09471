// A block takes 32 neighbouring elements; each of its eight warps adds every eighth part, then the first adds the eight.
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

}  // namespace

template <class T>
void sum_parts(CudaStream stream, const T* parts, std::int64_t count, std::int64_t n, T* out) {
  if (n == 0) return;
  sum_parts_kernel<<<static_cast<unsigned>((n + kWarp - 1) / kWarp), kWarps * kWarp, 0,
                     static_cast<cudaStream_t>(stream.handle)>>>(parts, count, n, out);
  LACUNA_CUDA_LAUNCHED("sum_parts");
}

template void sum_parts<float>(CudaStream, const float*, std::int64_t, std::int64_t, float*);

}  // namespace lacuna::kernels
