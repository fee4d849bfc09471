// When CPU kernels use threads.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// Below this many elements a team of threads costs more than it saves: waking and joining it takes 5 to 20 us, and
/// milliseconds where other programs hold the cores.
inline constexpr std::int64_t kLeastParallelWork = 1 << 16;

inline bool worth_threads(std::int64_t elements) { return elements >= kLeastParallelWork; }

}  // namespace lacuna::kernels
