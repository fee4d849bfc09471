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

/// Words that key the entries of two rows: r and r + 8 of 16 consecutive ones share each number drawn, half the bits each,
/// since a thread of the fused kernels holds both rows' entries of a column.
struct RowKey {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

/// Of row `row` of matrix `matrix`, one of several with `rows` rows each.
LACUNA_HOST_DEVICE inline RowKey dropout_row_key(std::uint64_t seed, std::uint64_t sequence, std::int64_t matrix,
                                                 std::int64_t rows, std::int64_t row) {
  const std::int64_t pair = (matrix * ((rows + 15) / 16) + row / 16) * 8 + row % 8;
  const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(pair));
  return {words.v[0], words.v[1]};
}

/// Philox per entry would cost a fused kernel more than its products: two rounds of multiply and shift mix the rows'
/// words with the column.
LACUNA_HOST_DEVICE inline std::uint32_t dropout_word(RowKey key, std::uint32_t column) {
  std::uint32_t h = column * 0x9E3779B9u + key.a;
  h = (h ^ h >> 16) * 0x7feb352du;
  h = ((h ^ h >> 15) + key.b) * 0x846ca68bu;
  return h ^ h >> 16;
}

/// Whether the entry in row `row` is dropped: the word's upper half decides for rows 8 to 15 of 16, the lower for the
/// others. below: dropout_threshold(p).
LACUNA_HOST_DEVICE inline bool is_dropped(std::uint32_t word, std::uint32_t row, std::uint32_t below) {
  return word << (16 - 2 * (row & 8)) < below;
}

/// p < 1 in steps of 2^-16, in a word's upper half.
LACUNA_HOST_DEVICE inline std::uint32_t dropout_threshold(double p) {
  const auto steps = static_cast<std::uint32_t>(p * 65536.0 + 0.5);
  return (steps < 65535 ? steps : 65535) << 16;
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
