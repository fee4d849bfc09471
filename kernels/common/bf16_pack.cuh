// Eight adjacent bf16 numbers as the 16 bytes they are moved in, computed with in f32. Device code only.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lacuna::kernels {

/// The lower half of a word comes first.
__device__ __forceinline__ void unpack_bf16(const uint4& pack, float (&out)[8]) {
  const std::uint32_t words[4] = {pack.x, pack.y, pack.z, pack.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    out[2 * i] = __uint_as_float(words[i] << 16);
    out[2 * i + 1] = __uint_as_float(words[i] & 0xffff0000u);
  }
}

/// Rounded to nearest, two numbers an instruction. A NaN stays one, but loses its payload.
__device__ __forceinline__ uint4 pack_bf16(const float (&in)[8]) {
  std::uint32_t words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(words[i]) : "f"(in[2 * i + 1]), "f"(in[2 * i]));
  return make_uint4(words[0], words[1], words[2], words[3]);
}

}  // namespace lacuna::kernels
