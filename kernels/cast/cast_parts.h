// Several conversions from f32 to bf16 by one launch: weights and biases on their way into one stacked matrix.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

inline constexpr int kMostCastParts = 8;

struct CastPart {
  const float* x = nullptr;
  Bf16* y = nullptr;
  std::int64_t n = 0;
};

/// y[i] = x[i] of each part, to nearest as cast does. `parts` is a host array of up to kMostCastParts, read before returning;
/// no y overlaps anything else. CUDA alone.
void cast_parts(CudaStream, const CastPart* parts, int count);

}  // namespace lacuna::kernels
