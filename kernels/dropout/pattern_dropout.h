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

/// What a row's entries share: a line that maps a column's word to the entry's number, modulo 2^32.
struct RowKey {
  std::uint32_t a = 0;  ///< odd
  std::uint32_t b = 0;
};

/// Of row `row` of matrix `matrix`, one of several with `rows` rows each.
LACUNA_HOST_DEVICE inline RowKey dropout_row_key(std::uint64_t seed, std::uint64_t sequence, std::int64_t matrix,
                                                 std::int64_t rows, std::int64_t row) {
  const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(matrix * rows + row));
  return {words.v[0] | 1, words.v[1]};
}

/// The same for all rows, matrices and seeds: a fixed scrambling, so that columns in arithmetic progression do not get
/// numbers in one.
LACUNA_HOST_DEVICE inline std::uint32_t dropout_column_word(std::uint32_t column) {
  std::uint32_t h = column * 0x9E3779B9u + 0x85EBCA6Bu;
  h = (h ^ h >> 16) * 0x7feb352du;
  h = (h ^ h >> 15) * 0x846ca68bu;
  return h ^ h >> 16;
}

/// Whether an entry is dropped. Philox per entry would cost a fused kernel more than its products; this is one
/// multiplication. Rows are independent, being drawn apart; of one row, any two entries are as good as independent
/// (multiply-shift hashing: Dietzfelbinger, 1996). below: dropout_threshold(p).
LACUNA_HOST_DEVICE inline bool is_dropped(RowKey key, std::uint32_t column_word, std::uint32_t below) {
  return key.a * column_word + key.b < below;
}

/// p < 1 in steps of 2^-32.
LACUNA_HOST_DEVICE inline std::uint32_t dropout_threshold(double p) {
  const double steps = p * 4294967296.0 + 0.5;
  return steps < 4294967295.0 ? static_cast<std::uint32_t>(steps) : 4294967295u;
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
