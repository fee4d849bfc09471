// Vectors of the instruction set that the including file is compiled for.
//
// A kernel's inner loop lives in one header that three files compile: *_cpu_baseline.cpp, *_cpu_avx2.cpp and
// *_cpu_avx512.cpp. Each defines LACUNA_ISA, its own namespace, before anything is included: the same template compiled
// for two instruction sets under one name would let the linker keep either. For the same reason such headers use no
// inline function of the standard library. simd_dispatch.h picks at run time.
#pragma once

#ifndef LACUNA_ISA
#error "define LACUNA_ISA (isa_baseline, isa_avx2 or isa_avx512) before including simd.h"
#endif

#if defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#endif

#include <cstdint>

namespace lacuna::kernels::LACUNA_ISA {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

typedef float FloatVector __attribute__((vector_size(kVectorBytes)));
typedef double DoubleVector __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedFloatVector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef double UnalignedDoubleVector __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));

template <class T>
struct Simd;

template <>
struct Simd<float> {
  using Vector = FloatVector;
  using Unaligned = UnalignedFloatVector;
  static constexpr int kLanes = kVectorBytes / 4;
  /// a * b + c, rounded once where the instruction set can.
  static inline __attribute__((always_inline)) Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
  }
};

template <>
struct Simd<double> {
  using Vector = DoubleVector;
  using Unaligned = UnalignedDoubleVector;
  static constexpr int kLanes = kVectorBytes / 8;
  static inline __attribute__((always_inline)) Vector multiply_add(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(__AVX2__) && defined(__FMA__)
    return _mm256_fmadd_pd(a, b, c);
#else
    return a * b + c;
#endif
  }
};

template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector load(const T* from) {
  return *reinterpret_cast<const typename Simd<T>::Unaligned*>(from);
}
template <class T>
inline __attribute__((always_inline)) void store(T* to, typename Simd<T>::Vector v) {
  *reinterpret_cast<typename Simd<T>::Unaligned*>(to) = v;
}
template <class T>
inline __attribute__((always_inline)) typename Simd<T>::Vector broadcast(T x) {
  return x - typename Simd<T>::Vector{};  // x - 0 is x, the sign of zero included
}
/// Four adjacent numbers, each to be spread over a vector: where the instruction set can, one load instead of four.
template <class T>
struct Four {
  const T* from;
  inline __attribute__((always_inline)) explicit Four(const T* numbers) : from(numbers) {}
  template <int i>
  inline __attribute__((always_inline)) typename Simd<T>::Vector spread() const {
    return broadcast<T>(from[i]);
  }
};
#if defined(__AVX512F__)
template <>
struct Four<float> {
  __m512 all;  // the four, four times
  // With a mask of ones, because the plain intrinsics of GCC 12 warn of their own undefined pass-through operand.
  inline __attribute__((always_inline)) explicit Four(const float* numbers)
      : all(_mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(numbers))) {}
  template <int i>
  inline __attribute__((always_inline)) FloatVector spread() const {
    return _mm512_maskz_permute_ps(0xffff, all, i * 0x55);
  }
};
#elif defined(__AVX2__) && defined(__FMA__)
template <>
struct Four<float> {
  __m256 all;  // the four, twice
  inline __attribute__((always_inline)) explicit Four(const float* numbers)
      : all(_mm256_broadcast_ps(reinterpret_cast<const __m128*>(numbers))) {}
  template <int i>
  inline __attribute__((always_inline)) FloatVector spread() const {
    return _mm256_permute_ps(all, i * 0x55);
  }
};
#endif
/// Four adjacent unsigned integers: on x86 by as few loads as possible.
inline __attribute__((always_inline)) void four_of(const std::int32_t* from, std::uint64_t* out) {
#if defined(__x86_64__)
  std::uint64_t low, high;
  __builtin_memcpy(&low, from, 8);
  __builtin_memcpy(&high, from + 2, 8);
  out[0] = low & 0xffffffffu;
  out[1] = low >> 32;
  out[2] = high & 0xffffffffu;
  out[3] = high >> 32;
#else
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint64_t>(from[i]);
#endif
}
inline __attribute__((always_inline)) void four_of(const std::uint16_t* from, std::uint64_t* out) {
#if defined(__x86_64__)
  std::uint64_t all;
  __builtin_memcpy(&all, from, 8);
  out[0] = all & 0xffffu;
  out[1] = all >> 16 & 0xffffu;
  out[2] = all >> 32 & 0xffffu;
  out[3] = all >> 48;
#else
  for (int i = 0; i < 4; ++i) out[i] = from[i];
#endif
}

/// Sum of the lanes, halves first: a fixed order.
template <class T>
inline __attribute__((always_inline)) T sum_lanes(typename Simd<T>::Vector v) {
  T lanes[Simd<T>::kLanes];
  store<T>(lanes, v);
  for (int half = Simd<T>::kLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

/// Sums of the lanes of four vectors at once, in a fixed order.
template <class T>
inline __attribute__((always_inline)) void sum_lanes_of_four(const typename Simd<T>::Vector* v, T* out) {
  for (int i = 0; i < 4; ++i) out[i] = sum_lanes<T>(v[i]);
}
#if defined(__AVX2__) && defined(__FMA__)
inline __attribute__((always_inline)) void sum_lanes_of_four_halves(__m256 a, __m256 b, __m256 c, __m256 d,
                                                                    float* out) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));  // each half: a, b, c, d
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}
#if defined(__AVX512F__)
inline __attribute__((always_inline)) __m256 fold(__m512 v) {
  // Shuffles, because the extract intrinsics of GCC 12 warn of their own undefined pass-through operand.
  return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
         __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}
template <>
inline __attribute__((always_inline)) void sum_lanes_of_four<float>(const FloatVector* v, float* out) {
  sum_lanes_of_four_halves(fold(v[0]), fold(v[1]), fold(v[2]), fold(v[3]), out);
}
#else
template <>
inline __attribute__((always_inline)) void sum_lanes_of_four<float>(const FloatVector* v, float* out) {
  sum_lanes_of_four_halves(v[0], v[1], v[2], v[3], out);
}
#endif
#endif

}  // namespace lacuna::kernels::LACUNA_ISA
