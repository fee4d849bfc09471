// Dropout of attention's probabilities, by place: whether entry (row, column) of matrix x is kept depends on (seed,
// sequence, x, row, column) alone, so that forward and both backward kernels, which meet entries in different orders and
// never number them, draw one mask.
#pragma once

#include <cstdint>

#include "kernels/random/philox.h"

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

namespace lacuna::kernels::attention {

/// Words that key the entries of one row.
struct RowKey {
  std::uint32_t a = 0;
  std::uint32_t b = 0;
};

/// `row` counts through all matrices: x * t + row.
LACUNA_HOST_DEVICE inline RowKey dropout_row_key(std::uint64_t seed, std::uint64_t sequence, std::uint64_t row) {
  const Philox4 words = philox(seed, sequence, row);
  return {words.v[0], words.v[1]};
}

/// Philox per entry would cost more than the products: two rounds of multiply and shift mix the row's words with the
/// column. An entry is dropped where this is below dropout_threshold(p).
LACUNA_HOST_DEVICE inline std::uint32_t dropout_word(RowKey key, std::uint32_t column) {
  std::uint32_t h = column * 0x9E3779B9u + key.a;
  h = (h ^ h >> 16) * 0x7feb352du;
  h = ((h ^ h >> 15) + key.b) * 0x846ca68bu;
  return h ^ h >> 16;
}

/// p in [0, 1).
LACUNA_HOST_DEVICE inline std::uint32_t dropout_threshold(double p) {
  return static_cast<std::uint32_t>(p * 4294967296.0);
}

#undef LACUNA_HOST_DEVICE

}  // namespace lacuna::kernels::attention
