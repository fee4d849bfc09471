// bf16 as it is stored: the upper half of an f32. Arithmetic is done in f32; kernels convert at load and store.
#pragma once

#include <bit>
#include <cstdint>

namespace lacuna {

struct Bf16 {
  std::uint16_t bits = 0;
};

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

LACUNA_HOST_DEVICE inline float to_float(Bf16 x) {
  const std::uint32_t word = static_cast<std::uint32_t>(x.bits) << 16;
#if defined(__CUDA_ARCH__)
  return __uint_as_float(word);
#else
  return std::bit_cast<float>(word);
#endif
}

/// Rounds to nearest, ties to even; NaN stays NaN.
LACUNA_HOST_DEVICE inline Bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  const std::uint32_t word = __float_as_uint(x);
#else
  const auto word = std::bit_cast<std::uint32_t>(x);
#endif
  if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>(word >> 16 | 0x40u)};
  return {static_cast<std::uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16)};
}

#undef LACUNA_HOST_DEVICE

}  // namespace lacuna
