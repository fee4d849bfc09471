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

template <class T> struct Simd;

template <> struct Simd<float> {
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

template <> struct Simd<double> {
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

}  // namespace lacuna::kernels::LACUNA_ISA
