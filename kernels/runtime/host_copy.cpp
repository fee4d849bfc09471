#include "kernels/runtime/host_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace lacuna::runtime {

void host_copy(void* to, const void* from, std::size_t bytes) {
  constexpr std::size_t kPiece = std::size_t{8} << 20;
  const auto pieces = static_cast<std::int64_t>(bytes / kPiece);  // the last one takes what is left, too
#ifdef _OPENMP
  const int threads = static_cast<int>(std::min<std::int64_t>({4, omp_get_max_threads(), pieces}));
#else
  const int threads = 1;
#endif
  if (threads < 2) {
    if (bytes > 0) std::memcpy(to, from, bytes);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (std::int64_t i = 0; i < pieces; ++i) {
    const std::size_t begin = static_cast<std::size_t>(i) * kPiece, end = i + 1 < pieces ? begin + kPiece : bytes;
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, end - begin);
  }
}

}  // namespace lacuna::runtime
