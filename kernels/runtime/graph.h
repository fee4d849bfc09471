// CUDA graphs: what is put on a stream, recorded once and launched as a whole.
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"

namespace lacuna::runtime {

#if LACUNA_HAS_CUDA
/// Work that goes on the stream from here to end_capture() is recorded instead of run. Anything that would wait for the
/// device fails until then; memory must come from allocate_fixed(). Throws Failure.
void begin_capture(CudaStream stream);

/// An executable graph: kernel arguments and addresses are those of the capture. Moves, does not copy.
class CudaGraph {
 public:
  CudaGraph() = default;
  CudaGraph(CudaGraph&& other) noexcept;
  CudaGraph& operator=(CudaGraph&& other) noexcept;
  ~CudaGraph();

  bool defined() const { return executable_ != nullptr; }
  int num_nodes() const { return num_nodes_; }  ///< kernels, copies and fills
  /// Queues one run. Throws Failure.
  void launch(CudaStream stream) const;

 private:
  friend CudaGraph end_capture(CudaStream stream);
  void* executable_ = nullptr;  // cudaGraphExec_t
  int num_nodes_ = 0;
};

/// Ends the capture and makes its graph. Throws Failure when something in between was refused; the stream is usable
/// again either way.
CudaGraph end_capture(CudaStream stream);
/// Ends a capture and drops what it holds; without a capture nothing happens.
void abort_capture(CudaStream stream) noexcept;

/// Device memory outside of the stream-ordered pool, which may be taken while a stream is captured. Throws Failure.
void* allocate_fixed(int device, std::size_t bytes);
void release_fixed(int device, void* pointer) noexcept;  ///< waits for the device
#endif

}  // namespace lacuna::runtime
