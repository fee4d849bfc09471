// A few bytes from the host into device memory: they travel as the kernel's arguments, so nobody waits and nothing need
// outlive the call. For the numbers of a step (learning rate, step count) that captured kernels read.
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

inline constexpr std::size_t kMostStored = 256;

/// target[0 .. bytes) = host[0 .. bytes); bytes at most kMostStored.
void store(CpuStream, const void* host, std::size_t bytes, void* target);
void store(CudaStream, const void* host, std::size_t bytes, void* target);

}  // namespace lacuna::kernels
