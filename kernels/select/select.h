// Selection: exactly k of n by score, ties to the lower index, so that a requested count is always met.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// keep[i] = 1 for the k largest scores, else 0. Equal scores: the lower index is kept. NaN ranks below everything.
template <class T>
std::size_t top_k_scratch_bytes(CpuStream, std::int64_t n);
template <class T>
std::size_t top_k_scratch_bytes(CudaStream, std::int64_t n);
template <class T>
void top_k_mask(CpuStream, const T* scores, std::int64_t n, std::int64_t k, std::uint8_t* keep, void* scratch);
template <class T>
void top_k_mask(CudaStream, const T* scores, std::int64_t n, std::int64_t k, std::uint8_t* keep, void* scratch);

/// out[i] = |x[i]|.
template <class T>
void magnitude(CpuStream, const T* x, std::int64_t n, T* out);
template <class T>
void magnitude(CudaStream, const T* x, std::int64_t n, T* out);

}  // namespace lacuna::kernels
