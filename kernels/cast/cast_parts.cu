// A grid's y is the part.
#include <algorithm>

#include "kernels/cast/cast_parts.h"
#include "kernels/common/quad.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

struct CastTable {
  CastPart parts[kMostCastParts];
};

__global__ void __launch_bounds__(kThreads) cast_parts_kernel(const __grid_constant__ CastTable table) {
  const CastPart& part = table.parts[blockIdx.y];
  const std::int64_t first = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t stride = std::int64_t{gridDim.x} * kThreads;
  const bool vectorised =
      reinterpret_cast<std::uintptr_t>(part.x) % 16 == 0 && reinterpret_cast<std::uintptr_t>(part.y) % 8 == 0;
  const std::int64_t quads = vectorised ? part.n / 4 : 0;
#pragma unroll 4
  for (std::int64_t q = first; q < quads; q += stride) store_quad(part.y + 4 * q, load_quad(part.x + 4 * q));
  for (std::int64_t i = quads * 4 + first; i < part.n; i += stride) part.y[i] = Bf16(part.x[i]);
}

}  // namespace

void cast_parts(CudaStream stream, const CastPart* parts, int count) {
  CastTable table{};
  std::int64_t most = 0;
  for (int i = 0; i < count; ++i) table.parts[i] = parts[i], most = std::max(most, parts[i].n);
  if (most == 0) return;
  const std::int64_t wanted = (most / 4 + kThreads - 1) / kThreads;
  const std::int64_t blocks = std::clamp<std::int64_t>(wanted, 1, 8ll * std::max(stream.multiprocessors, 1));
  cast_parts_kernel<<<dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(count)), kThreads, 0,
                      static_cast<cudaStream_t>(stream.handle)>>>(table);
  LACUNA_CUDA_LAUNCHED("cast_parts");
}

}  // namespace lacuna::kernels
