#include <cublasLt.h>
#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#include <cstdlib>
#include <cstring>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"
#include "kernels/runtime/runtime.h"

namespace lacuna::runtime {
namespace {

cudaStream_t native(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

constexpr std::size_t kFlagBytes = std::size_t{1} << 18;
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // cuBLAS's own recommendation for Hopper

bool is_set(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && std::strcmp(value, "1") == 0;
}

}  // namespace

std::vector<DeviceInfo> cuda_devices(std::string* why_none) {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess || count == 0) {
    cudaGetLastError();
    if (why_none) *why_none = status == cudaSuccess ? "no CUDA device" : cudaGetErrorString(status);
    return {};
  }
  std::vector<DeviceInfo> found;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    LACUNA_CUDA_CHECK(cudaGetDeviceProperties(&properties, i));
    found.push_back({properties.name, properties.major * 10 + properties.minor, properties.multiProcessorCount,
                     properties.totalGlobalMem});
  }
  return found;
}

CudaStream open_cuda_device(int index) {
  LACUNA_CUDA_CHECK(cudaSetDevice(index));
  cudaStream_t stream = nullptr;
  LACUNA_CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  // The driver's stream-ordered pool is the caching allocator: told to keep everything, it reuses blocks without a sync.
  cudaMemPool_t pool = nullptr;
  LACUNA_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, index));
  std::uint64_t keep = UINT64_MAX;
  LACUNA_CUDA_CHECK(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &keep));
  auto* libraries = new CudaLibraries;  // lives as long as the device list: the process
  if (cublasLtCreate(&libraries->lt) != CUBLAS_STATUS_SUCCESS) throw Failure{-1, "cublasLtCreate failed", false};
  LACUNA_CUDA_CHECK(cudaMalloc(&libraries->workspace, kWorkspaceBytes));
  libraries->workspace_bytes = kWorkspaceBytes;
  LACUNA_CUDA_CHECK(cudaMalloc(&libraries->flags, kFlagBytes));
  LACUNA_CUDA_CHECK(cudaMemsetAsync(libraries->flags, 0, kFlagBytes, stream));
  libraries->flag_bytes = kFlagBytes;
  libraries->measures_products = is_set("LACUNA_MEASURE_PRODUCTS");
  libraries->clears_results = is_set("LACUNA_CLEAR_PRODUCTS");
  int multiprocessors = 0;
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, index));
  return {stream, libraries, multiprocessors, false};
}

void allow_dependent_launches(CudaStream stream, bool allowed) { stream.libraries->dependent_launches = allowed; }

void* allocate(CudaStream stream, int device, std::size_t bytes) {
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  void* pointer = nullptr;
  LACUNA_CUDA_CHECK(cudaMallocAsync(&pointer, bytes, native(stream)));
  return pointer;
}

void release(CudaStream stream, int device, void* pointer) noexcept {
  cudaSetDevice(device);
  cudaFreeAsync(pointer, native(stream));
}

void trim(CudaStream stream, int device) {
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  LACUNA_CUDA_CHECK(cudaStreamSynchronize(native(stream)));
  cudaMemPool_t pool = nullptr;
  LACUNA_CUDA_CHECK(cudaDeviceGetDefaultMemPool(&pool, device));
  LACUNA_CUDA_CHECK(cudaMemPoolTrimTo(pool, 0));
  LACUNA_CUDA_CHECK(cudaDeviceGraphMemTrim(device));  // what graphs that are gone have allocated
}

std::size_t free_bytes(int device) {
  cudaSetDevice(device);
  std::size_t available = 0, total = 0;
  return cudaMemGetInfo(&available, &total) == cudaSuccess ? available : 0;
}

void copy(CudaStream stream, int device, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;  // either address may be null then
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  LACUNA_CUDA_CHECK(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, native(stream)));
}

void clear(CudaStream stream, int device, void* to, std::size_t bytes) {
  if (bytes == 0) return;
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  LACUNA_CUDA_CHECK(cudaMemsetAsync(to, 0, bytes, native(stream)));
}

void synchronize(CudaStream stream, int device) {
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  LACUNA_CUDA_CHECK(cudaStreamSynchronize(native(stream)));
}

bool synchronize_unless_captured(CudaStream stream, int device) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  LACUNA_CUDA_CHECK(cudaStreamIsCapturing(native(stream), &status));
  if (status != cudaStreamCaptureStatusNone) return false;
  synchronize(stream, device);
  return true;
}

void* allocate_pinned(std::size_t bytes) {
  void* pointer = nullptr;
  LACUNA_CUDA_CHECK(cudaMallocHost(&pointer, bytes));
  return pointer;
}

void release_pinned(void* pointer) noexcept { cudaFreeHost(pointer); }

void* create_event() {
  cudaEvent_t event = nullptr;
  LACUNA_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  return event;
}
void destroy_event(void* event) noexcept { cudaEventDestroy(static_cast<cudaEvent_t>(event)); }
void record_event(CudaStream stream, void* event) {
  LACUNA_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(event), native(stream)));
}
void wait_event(void* event) { LACUNA_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(event))); }

void push_range(const char* name) { nvtxRangePushA(name); }
void pop_range() { nvtxRangePop(); }

CudaTimer::CudaTimer(CudaStream stream) : stream_(stream) {
  cudaEvent_t begin = nullptr, end = nullptr;
  LACUNA_CUDA_CHECK(cudaEventCreate(&begin));
  LACUNA_CUDA_CHECK(cudaEventCreate(&end));
  begin_ = begin;
  end_ = end;
}
CudaTimer::~CudaTimer() {
  cudaEventDestroy(static_cast<cudaEvent_t>(begin_));
  cudaEventDestroy(static_cast<cudaEvent_t>(end_));
}
void CudaTimer::start() { LACUNA_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(begin_), native(stream_))); }
void CudaTimer::stop() { LACUNA_CUDA_CHECK(cudaEventRecord(static_cast<cudaEvent_t>(end_), native(stream_))); }
double CudaTimer::milliseconds() {
  LACUNA_CUDA_CHECK(cudaEventSynchronize(static_cast<cudaEvent_t>(end_)));
  float elapsed = 0;
  LACUNA_CUDA_CHECK(cudaEventElapsedTime(&elapsed, static_cast<cudaEvent_t>(begin_), static_cast<cudaEvent_t>(end_)));
  return elapsed;
}

}  // namespace lacuna::runtime
