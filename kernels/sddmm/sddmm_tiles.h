// SDDMM on Hopper's tensor cores: the dense product in tiles whose epilogue keeps only the sampled entries, so that the
// product never reaches memory. The weight gradient at training sizes.
//   A [m, k]     B [n, k]     C pattern [m, n]
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/half.h"
#include "kernels/runtime/views.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

/// What the products are made of; sums are f32 always.
enum class SddmmMath : std::uint8_t {
  split_tf32,  ///< f32 as two tf32 terms, three products: as accurate as an f32 kernel (infinite inputs give NaN)
  tf32,        ///< the upper 19 bits of each f32, the rest cut off as cuBLAS does
  bf16,        ///< bf16 inputs
  half,        ///< f16 copies of f32 inputs, each row with a factor (kernels/half_product): TF32's accuracy
};

/// A pattern's plan, made once per pattern on the device, four bytes a row and 256 columns: where in CSR these columns
/// begin, and which 64 x 64 cells hold entries; at densities above 0.25 also a bit a place. Nothing is written when the
/// pattern has no rows or columns.
std::size_t sddmm_plan_bytes(std::int64_t rows, std::int64_t cols, std::int64_t nnz);
void sddmm_plan(CudaStream stream, const Pattern& pattern, void* plan);

/// How the product is cut. A result's bits follow from the shape and the cut, never from timing.
struct SddmmTiling {
  int tile_cols = 128;  ///< of a tile of 128 rows: 128 or 256 (split_tf32: 128 alone)
  int splits = 1;       ///< parts of k, each another work item; their partial sums are added in order
};

/// How the operands lie in memory; leading dimensions are free, so that an operand may be a range of a matrix's columns.
struct SddmmStorage {
  bool transpose_a = false;  ///< A is stored [k, m]
  bool transpose_b = false;  ///< B is stored [k, n]
};

/// The tiling with the least predicted time: a pure function of the problem and the number of multiprocessors.
///   seconds  if given, receives the prediction
SddmmTiling choose_sddmm_tiling(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t nnz, std::int64_t batch,
                                int multiprocessors, SddmmMath math, double* seconds = nullptr,
                                const SddmmStorage& storage = {});

/// What rows of A [m] and B [n] are multiplied by: powers of two. A's come first, so that a row of A whose largest number
/// is past 2^96 may overflow, and one below 2^-80 lose bits, whatever B is.
struct SddmmFactors {
  const float* a = nullptr;
  const float* b = nullptr;
};

/// Whether sddmm_tiles takes these operands: compute capability 9.0 and a build for sm_90a, every row of A and B on a 16-byte boundary, k > 0,
/// extents below 2^31; stored transposed bf16 alone.
template <class In>
bool sddmm_tiles_supports(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b,
                          const SddmmStorage& storage = {});

/// Of partial sums; 0 without splits. c may lack its values.
template <class Out>
std::size_t sddmm_tiles_scratch_bytes(const Csr<Out>& c, const SddmmTiling& tiling);

/// c[i] = scale * dot(A[row i], B[col i]), by `plan` of c's pattern. c.values is overwritten; nothing else is. A batch may
/// share A or B (batch_stride 0); with splits it has at most 65,535 matrices.
/// In, Out: float, float (split_tf32, tf32); Bf16, float or Bf16 (bf16); Half, float (half, which alone reads `factors`).
/// Stored transposed: Bf16, float.
template <class In, class Out>
void sddmm_tiles(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, const Csr<Out>& c, float scale,
                 SddmmMath math, const SddmmTiling& tiling, const void* plan, void* scratch,
                 const SddmmFactors& factors = {}, const SddmmStorage& storage = {});

}  // namespace lacuna::kernels
