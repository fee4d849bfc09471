// A second stream of a device, for copies beside the work, and how two streams wait for one another.
#pragma once

#include "kernels/runtime/views.h"

namespace lacuna::runtime {

#if LACUNA_HAS_CUDA
/// A new non-blocking stream of the device; its other fields are those of `like`. Throws Failure.
CudaStream open_copy_stream(CudaStream like, int device);
/// What is queued is still done.
void close_copy_stream(CudaStream stream) noexcept;
/// What comes on `stream` from here on waits, on the device, until the event's last recording has been passed.
void stream_wait_event(CudaStream stream, void* event);
#endif

}  // namespace lacuna::runtime
