// How the forward kernels' threads share the channels: blocks for each channel, or, where a channel has fewer places than a
// block has threads, one row of threads over all channels. At batch 1 a 14 x 14 map has 28 places.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lacuna::kernels {

struct Places {
  unsigned channels;
  unsigned of_channel;          // places
  unsigned blocks_per_channel;  // 0: threads run on over all channels
};

struct Place {
  unsigned channel, index;
  bool exists;
};

__device__ __forceinline__ Place place_of(const Places& places) {
  if (places.blocks_per_channel == 0) {
    const unsigned at = blockIdx.x * blockDim.x + threadIdx.x, channel = at / places.of_channel;
    return {channel, at - channel * places.of_channel, channel < places.channels};
  }
  const unsigned index = blockIdx.x % places.blocks_per_channel * blockDim.x + threadIdx.x;
  return {blockIdx.x / places.blocks_per_channel, index, index < places.of_channel};
}

struct PlacesLaunch {
  Places places;
  unsigned blocks, threads;
};

/// For blocks of at most `threads`. `of_channel` is not 0; all places together fit 32 bits where threads run on.
inline PlacesLaunch share_places(std::int64_t channels, std::int64_t of_channel, unsigned threads) {
  const auto each = static_cast<unsigned>(of_channel), count = static_cast<unsigned>(channels);
  if (each < threads && channels * of_channel < (std::int64_t{1} << 31)) {
    constexpr unsigned kFew = 128;  // smaller blocks spread few threads over more multiprocessors
    return {{count, each, 0}, static_cast<unsigned>((channels * of_channel + kFew - 1) / kFew), kFew};
  }
  const auto blocks = static_cast<unsigned>((of_channel + threads - 1) / threads);
  return {{count, each, blocks}, count * blocks, threads};
}

}  // namespace lacuna::kernels
