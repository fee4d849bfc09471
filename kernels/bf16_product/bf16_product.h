// bf16 products on Hopper's tensor cores, C = epilogue(op(A) B), of a sparse A that becomes dense on the way.
//   A [rows, cols] CSR     op(A) [m, k]: A, or A^T     B [k, n]     C [m, n], overwritten     all row-major
//
// One persistent kernel (product.cuh). Three warps of every block write A's dense image to the caller's
// scratch while the others multiply, in the order in which the tiles want it: all that a product waits for is the first
// 256 terms of its first tiles. Sums are f32, rounded once; the same bits on every run.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Elements between rows of the dense image: rows start on 16 bytes.
constexpr std::int64_t bf16_product_ld(std::int64_t cols) { return (cols + 7) / 8 * 8; }

/// Of the dense image.
inline std::size_t bf16_product_scratch_bytes(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * bf16_product_ld(cols)) * sizeof(Bf16);
}

/// Whether the kernel takes these operands: compute capability 9.0 and a build for sm_90a; one matrix each, none of them
/// empty; B's and C's rows on 16 bytes; extents below 2^30, and A no larger than 2^32 elements.
bool bf16_product_supports(CudaStream stream, std::int64_t rows, std::int64_t cols, const Dense<const Bf16>& b,
                           const Dense<Bf16>& c);

/// A's columns on 16 bytes and its values on 8.
///   plan     of A's pattern, as kernels/sddmm/sddmm_tiles.h makes it
///   scratch  bf16_product_scratch_bytes, on 16 bytes
void bf16_product(CudaStream stream, const Csr<const Bf16>& a, const void* plan, const Dense<const Bf16>& b,
                  const Dense<Bf16>& c, bool transpose_a, const Epilogue<const float>& epilogue, void* scratch);

}  // namespace lacuna::kernels
