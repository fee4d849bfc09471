#include <cuda_runtime.h>

#include "app/bench/limits.h"
#include "core/visit.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::bench {

namespace {

/// Per multiprocessor and clock, from NVIDIA's architecture whitepapers: f32 lanes, and dense tensor-core flops.
struct PerMultiprocessor {
  int compute_capability;
  int f32_lanes;
  int tf32_flops;
  int bf16_flops;
};
constexpr PerMultiprocessor kTable[] = {
    {80, 64, 1024, 2048},   // A100
    {90, 128, 2048, 4096},  // H100, H200
};

}  // namespace

DeviceLimits device_limits_cuda(int index) {
  DeviceLimits limits;
  translate_failures("bench", [&] {
    cudaDeviceProp properties{};
    LACUNA_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
    int kilohertz = 0;
    LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&kilohertz, cudaDevAttrClockRate, index));
    limits.name = properties.name;
    limits.compute_capability = properties.major * 10 + properties.minor;
    limits.multiprocessors = properties.multiProcessorCount;
    limits.clock_hz = kilohertz * 1e3;
    limits.cache_bytes = static_cast<std::size_t>(properties.l2CacheSize);
  });
  const double clocks = limits.multiprocessors * limits.clock_hz;
  limits.l1_bytes_per_second = 128 * clocks;
  for (const PerMultiprocessor& row : kTable) {
    if (row.compute_capability != limits.compute_capability) continue;
    limits.f32_flops = 2.0 * row.f32_lanes * clocks;
    limits.tf32_flops = row.tf32_flops * clocks;
    limits.bf16_flops = row.bf16_flops * clocks;
  }
  return limits;
}

}  // namespace lacuna::bench
