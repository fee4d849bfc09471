// Memory, copies and waiting on a device: the few runtime calls that core needs, one overload per backend.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernels/runtime/views.h"

namespace lacuna::runtime {

/// A failed runtime call. `code` is the backend's own; core turns it into a typed lacuna::Error.
struct Failure {
  int code = 0;
  std::string what;
  bool out_of_memory = false;
};

struct DeviceInfo {
  std::string name;
  int compute_capability = 0;  ///< 90 = sm_90
  int multiprocessors = 0;
  std::size_t total_bytes = 0;
};

#if LACUNA_HAS_CUDA
/// Devices that the driver shows; empty without a driver or a device, with the reason in `why_none` (may be null).
std::vector<DeviceInfo> cuda_devices(std::string* why_none);

/// Opens a device: one non-blocking stream, a memory pool that keeps what it has, the vendor libraries' handles.
CudaStream open_cuda_device(int index);
/// Whether kernels on the stream may come up before the one before them is done (kernels/common/dependent_launch.cuh).
void allow_dependent_launches(CudaStream, bool allowed);

void* allocate(CudaStream, int device, std::size_t bytes);  ///< throws Failure
void release(CudaStream, int device, void* pointer) noexcept;
void trim(CudaStream, int device);  ///< gives cached blocks back to the driver
std::size_t free_bytes(int device);
void copy(CudaStream, int device, void* to, const void* from,
          std::size_t bytes);  ///< any direction, asynchronous for pinned memory
void clear(CudaStream, int device, void* to, std::size_t bytes);
void synchronize(CudaStream, int device);
/// The same, but false at once while the stream is being captured: nothing may wait then.
bool synchronize_unless_captured(CudaStream, int device);
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* pointer) noexcept;
void* create_event();  ///< no timing; marks a point on a stream
void destroy_event(void* event) noexcept;
void record_event(CudaStream, void* event);
void wait_event(void* event);       ///< the host waits until the stream has passed it
void push_range(const char* name);  ///< an NVTX range, for the profiler's timeline
void pop_range();

/// Device timer: two events around work on the stream.
class CudaTimer {
 public:
  explicit CudaTimer(CudaStream stream);
  ~CudaTimer();
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;
  void start();
  void stop();
  double milliseconds();  ///< waits for stop()
 private:
  CudaStream stream_;
  void* begin_ = nullptr;
  void* end_ = nullptr;
};
#endif

}  // namespace lacuna::runtime
