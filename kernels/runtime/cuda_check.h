// Turns failed CUDA and cuBLASLt calls into runtime::Failure, with the call's text and place.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "kernels/runtime/runtime.h"

namespace lacuna::runtime {

inline void check_cuda(cudaError_t status, const char* call, const char* file, int line) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // a plain allocation failure must not poison the next call's check
  throw Failure{static_cast<int>(status),
                std::string(call) + ": " + cudaGetErrorString(status) + " (" + file + ":" + std::to_string(line) + ")",
                status == cudaErrorMemoryAllocation};
}

}  // namespace lacuna::runtime

#define LACUNA_CUDA_CHECK(call) ::lacuna::runtime::check_cuda((call), #call, __FILE__, __LINE__)
/// After every launch: reports a bad configuration at once; a fault inside the kernel surfaces at the next wait.
#define LACUNA_CUDA_LAUNCHED(kernel) \
  ::lacuna::runtime::check_cuda(cudaGetLastError(), "launch of " kernel, __FILE__, __LINE__)
