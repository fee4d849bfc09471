#include <cuda_runtime.h>

#include <utility>

#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/graph.h"

namespace lacuna::runtime {

namespace {

cudaStream_t native(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

struct DestroyGraph {
  cudaGraph_t graph = nullptr;
  ~DestroyGraph() {
    if (graph) cudaGraphDestroy(graph);
  }
};

}  // namespace

void begin_capture(CudaStream stream) {
  // Relaxed: other threads (data loaders) and allocate_fixed() may go on calling the runtime.
  LACUNA_CUDA_CHECK(cudaStreamBeginCapture(native(stream), cudaStreamCaptureModeRelaxed));
}

CudaGraph end_capture(CudaStream stream) {
  DestroyGraph captured;
  LACUNA_CUDA_CHECK(cudaStreamEndCapture(native(stream), &captured.graph));
  CudaGraph made;
  std::size_t nodes = 0;
  LACUNA_CUDA_CHECK(cudaGraphGetNodes(captured.graph, nullptr, &nodes));
  cudaGraphExec_t executable = nullptr;
  LACUNA_CUDA_CHECK(cudaGraphInstantiate(&executable, captured.graph, 0));
  made.executable_ = executable;
  made.num_nodes_ = static_cast<int>(nodes);
  return made;
}

void abort_capture(CudaStream stream) noexcept {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(native(stream), &status) == cudaSuccess && status != cudaStreamCaptureStatusNone) {
    DestroyGraph dropped;
    cudaStreamEndCapture(native(stream), &dropped.graph);
  }
  cudaGetLastError();  // an invalidated capture reports its error here; it has been told before
}

CudaGraph::CudaGraph(CudaGraph&& other) noexcept
    : executable_(std::exchange(other.executable_, nullptr)), num_nodes_(std::exchange(other.num_nodes_, 0)) {}

CudaGraph& CudaGraph::operator=(CudaGraph&& other) noexcept {
  std::swap(executable_, other.executable_);
  std::swap(num_nodes_, other.num_nodes_);
  return *this;
}

CudaGraph::~CudaGraph() {
  if (executable_) cudaGraphExecDestroy(static_cast<cudaGraphExec_t>(executable_));
}

void CudaGraph::launch(CudaStream stream) const {
  LACUNA_CUDA_CHECK(cudaGraphLaunch(static_cast<cudaGraphExec_t>(executable_), native(stream)));
}

void* allocate_fixed(int device, std::size_t bytes) {
  LACUNA_CUDA_CHECK(cudaSetDevice(device));
  void* pointer = nullptr;
  LACUNA_CUDA_CHECK(cudaMalloc(&pointer, bytes));
  return pointer;
}

void release_fixed(int device, void* pointer) noexcept {
  cudaSetDevice(device);
  cudaFree(pointer);
}

}  // namespace lacuna::runtime
