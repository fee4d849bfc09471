#include <cuda_runtime.h>

#include "kernels/runtime/copy_stream.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::runtime {

CudaStream open_copy_stream(CudaStream like, int device) {
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  cudaStream_t stream = nullptr;
  LACUNA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  like.handle = stream;
  return like;
}

void close_copy_stream(CudaStream stream) noexcept { cudaStreamDestroy(static_cast<cudaStream_t>(stream.handle)); }

void stream_wait_event(CudaStream stream, void* event) {
  LACUNA_CUDA_CHECK(cudaStreamWaitEvent(static_cast<cudaStream_t>(stream.handle), static_cast<cudaEvent_t>(event), 0));
}

}  // namespace lacuna::runtime
