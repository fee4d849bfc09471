// Inverted dropout from counter-based random numbers: the mask is recomputed, never stored.
#pragma once

#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/random/philox.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[i] = x[i] / (1 - p) where uniform_from_word(philox_word(seed, sequence, i)) >= p, else 0. The same mask on every
/// backend and dtype; the gradient is this kernel on dy. p in [0, 1). y may be x.
template <class T>
void dropout(CpuStream, const T* x, T* y, std::int64_t n, double p, std::uint64_t seed, RandomSequence sequence);
template <class T>
void dropout(CudaStream, const T* x, T* y, std::int64_t n, double p, std::uint64_t seed, RandomSequence sequence);

}  // namespace lacuna::kernels
