// Dropout of entries of sparse matrices, by place: whether entry (row, column) of matrix x is kept depends on (seed,
// sequence, x, row, column) alone, so kernels that never number the entries (fused attention) draw the same mask.
#pragma once

#include <cstdint>

#include "kernels/random/philox.h"
#include "kernels/runtime/views.h"

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

namespace lacuna::kernels {

/// Words that key the entries of one row.
struct RowKey {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

/// `row` counts through all matrices: x * rows + row.
LACUNA_HOST_DEVICE inline RowKey dropout_row_key(std::uint64_t seed, std::uint64_t sequence, std::int64_t row) {
  const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(row));
  return {words.v[0], words.v[1]};
}

/// Philox per entry would cost a fused kernel more than its products: two rounds of multiply and shift mix the row's
/// words with the column. An entry is dropped where this is below p * 2^32.
LACUNA_HOST_DEVICE inline std::uint32_t dropout_word(RowKey key, std::uint32_t column) {
  std::uint32_t h = column * 0x9E3779B9u + key.a;
  h = (h ^ h >> 16) * 0x7feb352du;
  h = ((h ^ h >> 15) + key.b) * 0x846ca68bu;
  return h ^ h >> 16;
}

LACUNA_HOST_DEVICE inline std::uint32_t dropout_threshold(double p) {
  return static_cast<std::uint32_t>(p * 4294967296.0);
}

#undef LACUNA_HOST_DEVICE

/// y = x.values / (1 - p) where kept, else 0; y may be x.values. Matrix b of the batch is matrix first_matrix + b of the
/// mask. p in [0, 1).
template <class T>
void pattern_dropout(CpuStream, const Csr<const T>& x, T* y, double p, std::uint64_t seed, RandomSequence sequence,
                     std::int64_t first_matrix);
template <class T>
void pattern_dropout(CudaStream, const Csr<const T>& x, T* y, double p, std::uint64_t seed, RandomSequence sequence,
                     std::int64_t first_matrix);

}  // namespace lacuna::kernels
