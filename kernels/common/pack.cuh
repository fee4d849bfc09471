// kVector adjacent numbers of a stored type, moved at once: 16 bytes of four f32, 8 of four bf16 (16 of eight), one number
// where rows are not aligned. Device code, but for the alignment test.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "kernels/common/wide.h"

namespace lacuna::kernels {

template <class T, int kVector>
struct alignas(kVector * sizeof(T)) Pack {
  T v[kVector];
};

template <int kVector, class T>
__device__ __forceinline__ Pack<std::remove_const_t<T>, kVector> load_pack(T* p) {
  return *reinterpret_cast<const Pack<std::remove_const_t<T>, kVector>*>(p);
}

template <int kVector, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, kVector>& pack) {
  *reinterpret_cast<Pack<T, kVector>*>(p) = pack;
}

/// Whether four numbers at `pointer` can be moved at once. A null pointer is: it is not read.
template <class T>
bool pack_aligned(const T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % (4 * sizeof(T)) == 0;
}

/// Calls launch(std::integral_constant<int, 4>{}) where packs of four fit, else with 1.
template <class F>
void with_pack(bool fits, F&& launch) {
  if (fits) return launch(std::integral_constant<int, 4>{});
  launch(std::integral_constant<int, 1>{});
}

/// Calls launch(std::integral_constant<int, V>{}) with the largest V of 16 bytes, four numbers and one that divides n and
/// at which every pointer is aligned. A null pointer is.
template <class T, class F>
void with_widest_pack(std::int64_t n, std::initializer_list<const void*> pointers, F&& launch) {
  const auto fits = [&](int vector) {
    for (const void* p : pointers)
      if (reinterpret_cast<std::uintptr_t>(p) % (vector * sizeof(T)) != 0) return false;
    return n % vector == 0;
  };
  constexpr int kWidest = 16 / static_cast<int>(sizeof(T));
  if constexpr (kWidest > 4) {
    if (fits(kWidest)) return launch(std::integral_constant<int, kWidest>{});
  }
  if (fits(4)) return launch(std::integral_constant<int, 4>{});
  launch(std::integral_constant<int, 1>{});
}

}  // namespace lacuna::kernels
