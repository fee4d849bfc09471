// Launches of the kernels of residual_norm by clusters. Host code.
#pragma once

#include <cuda_runtime.h>

#include <initializer_list>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Whether rows of n bf16 numbers from these places on are whole packs of 16 bytes. A null pointer is: it is not read.
inline bool whole_packs(std::int64_t n, std::initializer_list<const void*> pointers) {
  for (const void* p : pointers)
    if (reinterpret_cast<std::uintptr_t>(p) % 16 != 0) return false;
  return n % 8 == 0;
}

/// Whether the device has clusters and `kernel` was compiled for them, also where the driver made code of older PTX.
template <class Kernel>
bool runs_clusters(Kernel kernel) {
  int device = 0, major = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (major != 9) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  return attributes.ptxVersion >= 90;
}

/// One launch: of() makes the configuration of a number of clusters.
class ClusterLaunch {
 public:
  ClusterLaunch(CudaStream stream, int blocks, unsigned threads, std::size_t shared_bytes) : blocks_(blocks) {
    attribute_.id = cudaLaunchAttributeClusterDimension;
    attribute_.val.clusterDim = {static_cast<unsigned>(blocks), 1, 1};
    config_.blockDim = dim3(threads);
    config_.dynamicSmemBytes = shared_bytes;
    config_.stream = static_cast<cudaStream_t>(stream.handle);
    config_.attrs = &attribute_;
    config_.numAttrs = 1;
  }
  ClusterLaunch(const ClusterLaunch&) = delete;
  ClusterLaunch& operator=(const ClusterLaunch&) = delete;

  const cudaLaunchConfig_t& of(std::int64_t clusters) {
    config_.gridDim = dim3(static_cast<unsigned>(clusters * blocks_));
    return config_;
  }

 private:
  int blocks_;
  cudaLaunchAttribute attribute_ = {};
  cudaLaunchConfig_t config_ = {};
};

}  // namespace lacuna::kernels
