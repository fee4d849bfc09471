// Four neighbouring numbers of a stored type, read and written at once and computed with in f32. Device code, but for
// the alignment test.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/runtime/bf16.h"

namespace lacuna::kernels {

/// Whether four numbers at `pointer` can be moved at once: 16 bytes of f32, 8 of bf16.
template <class T>
bool quad_aligned(const T* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % (4 * sizeof(T)) == 0;
}

__device__ __forceinline__ float4 load_quad(const float* p) { return *reinterpret_cast<const float4*>(p); }

__device__ __forceinline__ float4 load_quad(const Bf16* p) {
  const uint2 words = *reinterpret_cast<const uint2*>(p);  // the lower half of a word comes first
  return make_float4(__uint_as_float(words.x << 16), __uint_as_float(words.x & 0xffff0000u),
                     __uint_as_float(words.y << 16), __uint_as_float(words.y & 0xffff0000u));
}

__device__ __forceinline__ void store_quad(float* p, float4 x) { *reinterpret_cast<float4*>(p) = x; }

__device__ __forceinline__ std::uint32_t packed_bf16(float low, float high) {
  return static_cast<std::uint32_t>(Bf16(low).bits) | static_cast<std::uint32_t>(Bf16(high).bits) << 16;
}

__device__ __forceinline__ void store_quad(Bf16* p, float4 x) {
  *reinterpret_cast<uint2*>(p) = make_uint2(packed_bf16(x.x, x.y), packed_bf16(x.z, x.w));
}

}  // namespace lacuna::kernels
