// A copy within host memory by several threads.
#pragma once

#include <cstddef>

namespace lacuna::runtime {

/// memcpy. From 16 MiB on by up to four threads of OpenMP's: one core moves some 10 GB/s, which for a batch of large
/// images is as long as a training step takes.
void host_copy(void* to, const void* from, std::size_t bytes);

}  // namespace lacuna::runtime
