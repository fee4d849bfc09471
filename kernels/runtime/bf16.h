// bf16 as it is stored: the upper half of an f32. Arithmetic is done in f32: a Bf16 reads as a float, and a float becomes
// one only when asked to (static_cast, or to_bf16), rounded to nearest. So kernels are one template over the stored type,
// and what they add up in is acc_t of it.
#pragma once

#include <bit>
#include <cstdint>
#include <type_traits>

namespace lacuna {

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

struct Bf16 {
  std::uint16_t bits;

  Bf16() = default;
  /// Rounds to nearest, ties to even; past the largest finite number to infinity; NaN stays NaN.
  LACUNA_HOST_DEVICE explicit Bf16(float x) {
#if defined(__CUDA_ARCH__)
    const std::uint32_t word = __float_as_uint(x);
#else
    const auto word = std::bit_cast<std::uint32_t>(x);
#endif
    const bool nan = (word & 0x7fffffffu) > 0x7f800000u;
    bits = static_cast<std::uint16_t>(nan ? word >> 16 | 0x40u : (word + 0x7fffu + (word >> 16 & 1u)) >> 16);
  }
  /// By way of f32.
  LACUNA_HOST_DEVICE explicit Bf16(double x) : Bf16(static_cast<float>(x)) {}
  LACUNA_HOST_DEVICE explicit Bf16(int x) : Bf16(static_cast<float>(x)) {}
  LACUNA_HOST_DEVICE operator float() const {
    const std::uint32_t word = static_cast<std::uint32_t>(bits) << 16;
#if defined(__CUDA_ARCH__)
    return __uint_as_float(word);
#else
    return std::bit_cast<float>(word);
#endif
  }
};
static_assert(std::is_trivially_copyable_v<Bf16> && sizeof(Bf16) == 2);

LACUNA_HOST_DEVICE inline float to_float(Bf16 x) { return x; }
LACUNA_HOST_DEVICE inline Bf16 to_bf16(float x) { return Bf16(x); }

#undef LACUNA_HOST_DEVICE

template <class T>
struct Accumulator {
  using type = T;
};
template <>
struct Accumulator<Bf16> {
  using type = float;
};
/// What numbers of a stored type are computed and added up in, and what stands beside them (biases, gains, statistics,
/// gradients of parameters): f32 for bf16, else the type itself.
template <class T>
using acc_t = typename Accumulator<std::remove_const_t<T>>::type;

}  // namespace lacuna
