// Uniform random numbers into a tensor's memory.
#pragma once

#include <cstdint>

#include "kernels/random/philox.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// y[i] = low + (high - low) * uniform_from_word(philox_word(seed, sequence, i)) for i in [0, n), in double and rounded once:
/// the same bits on every backend.
template <class T>
void random_uniform(CpuStream, T* y, std::int64_t n, double low, double high, std::uint64_t seed,
                    std::uint64_t sequence);
template <class T>
void random_uniform(CudaStream, T* y, std::int64_t n, double low, double high, std::uint64_t seed,
                    std::uint64_t sequence);

}  // namespace lacuna::kernels
