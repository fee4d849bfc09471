// A block's row and columns where a flat grid runs over (row, chunk of columns) of a contiguous matrix. Device code
// only.
#pragma once

#include <cstdint>

#include "kernels/common/chunks.h"

namespace lacuna::kernels {

struct RowPiece {
  std::int64_t row;
  std::int64_t begin;  ///< counts from the matrix's first element
  int length;
};

/// Of a matrix with n columns; launch rows * chunks.count blocks.
__device__ __forceinline__ RowPiece row_piece(std::int64_t n, const Chunks& chunks) {
  const std::int64_t row = blockIdx.x / chunks.count;
  const std::int64_t first = blockIdx.x % chunks.count * chunks.size;
  return {row, row * n + first, static_cast<int>(min(chunks.size, n - first))};
}

}  // namespace lacuna::kernels
