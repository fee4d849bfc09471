#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/quad.cuh"
#include "kernels/dropout/dropout.h"
#include "kernels/dropout/word_dropout.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

/// One Philox block of four words, so four elements, per thread and step. With vectorised, x and y are aligned to four.
template <bool vectorised, class T>
__global__ void __launch_bounds__(kThreads) dropout_kernel(const T* x, T* y, std::int64_t n, DropoutRule rule) {
  const WordDropout drop(rule);
  const std::int64_t quads = (n + 3) / 4, stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t q = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; q < quads; q += stride) {
    const std::uint32_t kept = drop.kept<4>(4 * q);
    if (vectorised && q * 4 + 4 <= n) {
      const float4 quad = load_quad(x + 4 * q);
      float values[4] = {quad.x, quad.y, quad.z, quad.w};
      drop.apply(values, kept);
      store_quad(y + 4 * q, make_float4(values[0], values[1], values[2], values[3]));
    } else {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const std::int64_t i = q * 4 + w;
        if (i >= n) break;
        float value[1] = {x[i]};
        drop.apply(value, kept >> w);
        y[i] = static_cast<T>(value[0]);
      }
    }
  }
}

}  // namespace

template <class T>
void dropout(CudaStream stream, const T* x, T* y, std::int64_t n, double p, std::uint64_t seed,
             RandomSequence sequence) {
  if (n == 0) return;
  const bool aligned = quad_aligned(x) && quad_aligned(y);
  const std::int64_t wanted = ((n + 3) / 4 + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(wanted, 16ll * std::max(stream.multiprocessors, 1)));
  const auto kernel = aligned ? dropout_kernel<true, T> : dropout_kernel<false, T>;
  kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(x, y, n, dropout_rule(p, seed, sequence));
  LACUNA_CUDA_LAUNCHED("dropout");
}

template void dropout<float>(CudaStream, const float*, float*, std::int64_t, double, std::uint64_t, RandomSequence);
template void dropout<Bf16>(CudaStream, const Bf16*, Bf16*, std::int64_t, double, std::uint64_t, RandomSequence);

}  // namespace lacuna::kernels
