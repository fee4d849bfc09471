#include <algorithm>

#include "kernels/cast/cast.h"
#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/quad.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

/// With vectorised, both arrays are aligned to four of their elements; the last n % 4 are converted one by one.
template <bool vectorised, class From, class To>
__global__ void __launch_bounds__(kThreads)
    cast_kernel(const From* __restrict__ x, To* __restrict__ y, std::int64_t n) {
  const std::int64_t first = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  const std::int64_t quads = vectorised ? n / 4 : 0;
  wait_for_previous();
  for (std::int64_t q = first; q < quads; q += stride) store_quad(y + 4 * q, load_quad(x + 4 * q));
  for (std::int64_t i = quads * 4 + first; i < n; i += stride) y[i] = static_cast<To>(static_cast<float>(x[i]));
}

}  // namespace

template <class From, class To>
void cast(CudaStream stream, const From* x, To* y, std::int64_t n) {
  if (n == 0) return;
  const std::int64_t most = 16ll * std::max(stream.multiprocessors, 1);
  const bool vectorised = quad_aligned(x) && quad_aligned(y);
  const std::int64_t items = vectorised ? (n + 3) / 4 : n;
  const auto blocks = static_cast<unsigned>(std::min((items + kThreads - 1) / kThreads, most));
  const auto kernel = vectorised ? cast_kernel<true, From, To> : cast_kernel<false, From, To>;
  launch_early(stream, kernel, blocks, kThreads, 0, 1, x, y, n);
}

template void cast<float, float>(CudaStream, const float*, float*, std::int64_t);
template void cast<float, Bf16>(CudaStream, const float*, Bf16*, std::int64_t);
template void cast<Bf16, float>(CudaStream, const Bf16*, float*, std::int64_t);
template void cast<Bf16, Bf16>(CudaStream, const Bf16*, Bf16*, std::int64_t);

}  // namespace lacuna::kernels
