#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/random/uniform.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

/// One Philox block of four words a thread and step.
__global__ void __launch_bounds__(kThreads)
    uniform_kernel(float* y, std::int64_t n, double low, double range, std::uint64_t seed, std::uint64_t sequence) {
  const std::int64_t blocks = (n + 3) / 4, stride = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t b = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; b < blocks; b += stride) {
    const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(b));
#pragma unroll
    for (int w = 0; w < 4; ++w)  // no fused multiply-add: the CPU's bits
      if (b * 4 + w < n)
        y[b * 4 + w] = static_cast<float>(__dadd_rn(low, __dmul_rn(range, uniform_from_word(words.v[w]))));
  }
}

}  // namespace

template <>
void random_uniform<float>(CudaStream stream, float* y, std::int64_t n, double low, double high, std::uint64_t seed,
                           std::uint64_t sequence) {
  if (n == 0) return;
  const std::int64_t wanted = ((n + 3) / 4 + kThreads - 1) / kThreads;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(wanted, 16ll * std::max(stream.multiprocessors, 1)));
  uniform_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(y, n, low, high - low, seed,
                                                                                    sequence);
  LACUNA_CUDA_LAUNCHED("random_uniform");
}

}  // namespace lacuna::kernels
