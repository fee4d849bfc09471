// What a thread that owns some neighbouring columns of a 3x3 convolution with padding 1 reads of an input row.
//   stride 1: output and input have one size     stride 2: the input is twice as high and wide
// Rows begin at multiples of what a thread loads at once.
#pragma once

#include <cstdint>

#include "kernels/common/pack.cuh"
#include "kernels/common/window.h"

namespace lacuna::kernels {

/// kCount neighbouring pixels from p on, in packs of at most 16 bytes.
template <int kCount, class T>
__device__ __forceinline__ void load_pixels(const T* __restrict__ p, float* v) {
  constexpr int kPack = kCount * sizeof(T) <= 16 ? kCount : kCount / 2;
  static_assert(kPack * sizeof(T) <= 16 && kCount % kPack == 0);
#pragma unroll
  for (int first = 0; first < kCount; first += kPack) {
    const auto pack = load_pack<kPack>(p + first);
#pragma unroll
    for (int i = 0; i < kPack; ++i) v[first + i] = static_cast<float>(pack.v[i]);
  }
}

template <int kCount, class T>
__device__ __forceinline__ void store_pixels(T* p, const float* v) {
  constexpr int kPack = kCount * sizeof(T) <= 16 ? kCount : kCount / 2;
  static_assert(kPack * sizeof(T) <= 16 && kCount % kPack == 0);
#pragma unroll
  for (int first = 0; first < kCount; first += kPack) {
    Pack<T, kPack> pack;
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack.v[i] = static_cast<T>(v[first + i]);
    store_pack<kPack>(p + first, pack);
  }
}

/// What kCols outputs from column x on read of an input row: v[0] is the pixel left of the first one's middle tap.
template <int kStride, int kCols>
struct InputRow {
  static constexpr int kCount = kStride == 1 ? kCols + 2 : 2 * kCols + 1;
  float v[kCount];
};

/// 0 outside the image.
template <int kStride, int kCols, class T>
__device__ __forceinline__ InputRow<kStride, kCols> load_input_row(const T* __restrict__ image, const Window& window,
                                                                   int y, int x) {
  InputRow<kStride, kCols> in{};
  if (y < 0 || y >= window.height) return in;
  const T* row = image + std::int64_t{y} * window.width + x * kStride;
  if (x > 0) in.v[0] = static_cast<float>(row[-1]);
  load_pixels<kCols * kStride>(row, in.v + 1);
  if constexpr (kStride == 1) {
    if (x + kCols < window.width) in.v[kCols + 1] = static_cast<float>(row[kCols]);
  }
  return in;
}

}  // namespace lacuna::kernels
