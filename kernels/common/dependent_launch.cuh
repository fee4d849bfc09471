// Programmatic dependent launch: a kernel's blocks come up while the kernel before it on the stream still runs, and wait
// there. It hides a launch's latency, one to two microseconds, which is a fifth of the smallest products.
//
// A kernel that is launched so must call wait_for_previous() in every thread before it reads or writes any global memory:
// until then nothing that earlier kernels wrote can be relied on, nor may anything they read be overwritten. The wait
// covers all that came before, not the one kernel alone: what is waited for has itself waited. Earlier than that a kernel
// may read only what was complete before the host launched it (Csr::settled), and prefetch into L2 what it likes. It holds
// in captured graphs as in streams, and beside kernels launched the ordinary way (docs/kernels/mobilenet_inference.md).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <utility>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Waits until all earlier kernels of the stream are done and their writes visible; before that, lets the next kernel's
/// blocks come up as soon as all of this one's have. Nothing where the kernel was launched the ordinary way.
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
}

/// launch_early, or the ordinary way where `allowed` is false.
template <class... Parameters, class... Arguments>
void launch_early_if(bool allowed, cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, unsigned threads,
                     std::size_t shared_bytes, unsigned cluster, Arguments&&... arguments) {
  int device = 0, major = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  cudaLaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (major >= 9 && allowed) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {cluster, 1, 1};
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...));
}

/// kernel<<<grid, threads, shared_bytes, stream>>>(arguments...), early where the device can (compute capability 9.0).
///   cluster  blocks of a cluster along x; 1: no clusters
template <class... Parameters, class... Arguments>
void launch_early(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, unsigned threads,
                  std::size_t shared_bytes, unsigned cluster, Arguments&&... arguments) {
  launch_early_if(true, stream, kernel, grid, threads, shared_bytes, cluster, std::forward<Arguments>(arguments)...);
}

/// The same, unless dependent launches are switched off (core/kernel_set.h).
template <class... Parameters, class... Arguments>
void launch_early(const CudaStream& stream, void (*kernel)(Parameters...), dim3 grid, unsigned threads,
                  std::size_t shared_bytes, unsigned cluster, Arguments&&... arguments) {
  launch_early_if(stream.libraries == nullptr || stream.libraries->dependent_launches,
                  static_cast<cudaStream_t>(stream.handle), kernel, grid, threads, shared_bytes, cluster,
                  std::forward<Arguments>(arguments)...);
}

}  // namespace lacuna::kernels
