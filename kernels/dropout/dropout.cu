#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/quad.cuh"
#include "kernels/dropout/dropout.h"
#include "kernels/random/philox.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

__device__ float keep_or_drop(float x, std::uint32_t word, float threshold, float keep_scale) {
  return uniform_from_word(word) < threshold ? 0.0f : x * keep_scale;
}

/// One Philox block of four words, so four elements, per thread and step.
template <bool vectorised, class T>
__global__ void __launch_bounds__(kThreads)
    dropout_kernel(const T* x, T* y, std::int64_t n, float threshold, float keep_scale, std::uint64_t seed,
                   RandomSequence number) {
  const std::uint64_t sequence = number;
  const std::int64_t quads = (n + 3) / 4, stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t q = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; q < quads; q += stride) {
    const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(q));
    if (vectorised && q * 4 + 4 <= n) {
      const float4 v = load_quad(x + 4 * q);
      store_quad(y + 4 * q, make_float4(keep_or_drop(v.x, words.v[0], threshold, keep_scale),
                                        keep_or_drop(v.y, words.v[1], threshold, keep_scale),
                                        keep_or_drop(v.z, words.v[2], threshold, keep_scale),
                                        keep_or_drop(v.w, words.v[3], threshold, keep_scale)));
    } else {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const std::int64_t i = q * 4 + w;
        if (i < n) y[i] = static_cast<T>(keep_or_drop(x[i], words.v[w], threshold, keep_scale));
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
  kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      x, y, n, static_cast<float>(p), static_cast<float>(1 / (1 - p)), seed, sequence);
  LACUNA_CUDA_LAUNCHED("dropout");
}

template void dropout<float>(CudaStream, const float*, float*, std::int64_t, double, std::uint64_t, RandomSequence);
template void dropout<Bf16>(CudaStream, const Bf16*, Bf16*, std::int64_t, double, std::uint64_t, RandomSequence);

}  // namespace lacuna::kernels
