#include <cuda_runtime.h>

#include <cstring>

#include "kernels/runtime/cuda_check.h"
#include "kernels/store/store.h"

namespace lacuna::kernels {
namespace {

struct Bytes {
  unsigned char values[kMostStored];
};

/// One thread a byte.
__global__ void store_kernel(const __grid_constant__ Bytes bytes, unsigned count, unsigned char* target) {
  if (threadIdx.x < count) target[threadIdx.x] = bytes.values[threadIdx.x];
}

}  // namespace

void store(CudaStream stream, const void* host, std::size_t bytes, void* target) {
  if (bytes == 0) return;
  Bytes table{};
  std::memcpy(table.values, host, bytes);
  store_kernel<<<1, kMostStored, 0, static_cast<cudaStream_t>(stream.handle)>>>(table, static_cast<unsigned>(bytes),
                                                                                static_cast<unsigned char*>(target));
  LACUNA_CUDA_LAUNCHED("store");
}

}  // namespace lacuna::kernels
