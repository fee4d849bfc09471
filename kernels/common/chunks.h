// How a long row is cut for a two-stage reduction: stage one reduces each chunk, stage two adds the chunks in order.
#pragma once

#include <algorithm>
#include <cstdint>

namespace lacuna::kernels {

struct Chunks {
  std::int64_t size = 0;   ///< elements of each chunk but the last; a multiple of the granularity
  std::int64_t count = 0;  ///< chunks per row; at least 1
};

/// Enough chunks that `rows` rows of `length` fill the device several times over, and none longer than kLongest: an
/// f32 sum inside a chunk stays accurate. Depends on sizes and the device only, so results repeat.
inline Chunks plan_chunks(std::int64_t rows, std::int64_t length, int multiprocessors, std::int64_t granularity = 1024) {
  constexpr std::int64_t kLongest = 65536;
  const std::int64_t wanted = std::max<std::int64_t>(1, multiprocessors * std::int64_t{16} / std::max<std::int64_t>(rows, 1));
  std::int64_t size = std::max<std::int64_t>(1, (length + wanted - 1) / wanted);
  size = std::min((size + granularity - 1) / granularity * granularity, std::max(kLongest, granularity));
  return {size, std::max<std::int64_t>(1, (length + size - 1) / size)};
}

}  // namespace lacuna::kernels
