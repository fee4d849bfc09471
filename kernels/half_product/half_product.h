// TF32's accuracy at f16's rate: an f16 has TF32's eleven significant bits, and powers of two make up for its range.
//   x[r][j] = copy[r][j] * factor[r]      factor a power of two, so that the row's largest number lies in [2^14, 2^15)
// Numbers down to 2^-29 of their row's largest are rounded to eleven bits (to nearest; the tensor cores cut f32 operands
// off to as many), smaller ones to 2^-40 of it. The scaling of half-precision products is Ootomo and Yokota's (2022,
// "Recovering single precision accuracy from Tensor Cores", halfhalf) without their second term.
//
// C [m, n] = A [m, k] sparse * B [k, n] in three steps on the caller's stream and memory; none waits for the host:
//   half_rows      B's rows as f16 with their factors; on the way the largest of A's values and of the factors
//   half_densify   A as a dense f16 matrix, its column k multiplied by B's factor k, all by one further power of two
//   gemm_f16       (kernels/gemm/gemm.h) the product, times what half_densify left as `alpha`
// SDDMM takes f16 copies of both operands and puts both rows' factors into its epilogue (kernels/sddmm/sddmm_tiles.h).
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/half.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// Elements between the rows of a copy: rows start on 16 bytes.
constexpr std::int64_t half_ld(std::int64_t cols) { return (cols + 7) / 8 * 8; }

/// Found by half_rows, read by half_densify; bits of nonnegative floats, whose order is that of unsigned integers.
struct HalfLargest {
  std::uint32_t value;   ///< of A: the largest finite magnitude
  std::uint32_t factor;  ///< of B's rows
};

/// What the product of the copies is multiplied by, for cuBLASLt to read on the device.
struct HalfAlpha {
  float alpha, beta;
};

/// copy [rows, half_ld(cols)] (aligned to 16 bytes) and factors [rows] of x, one matrix. What pads a row is not written.
/// The largest magnitude is taken over finite numbers; an infinity stays one and a NaN a NaN. A row of zeros has the
/// factor 2^-126, the least there is.
void half_rows(CudaStream, const Dense<const float>& x, Half* copy, float* factors);

/// The same, and *largest: overwritten with what half_densify needs of values [nnz] and of the factors.
void half_rows(CudaStream, const Dense<const float>& x, Half* copy, float* factors, const float* values,
               std::int64_t nnz, HalfLargest* largest);

/// out [a.rows, half_ld(a.cols)] (aligned to 16 bytes, wholly overwritten): out[i][k] = a[i][k] * factors[k] / alpha,
/// rounded to f16, absent entries 0. *alpha, {power of two, 0}: such that out stays below 2^15. One matrix.
void half_densify(CudaStream, const Csr<const float>& a, const float* factors, const HalfLargest* largest, Half* out,
                  HalfAlpha* alpha);
}  // namespace lacuna::kernels
