// SpMM on Hopper's tensor cores: C = epilogue(A B), A sparse without structure. "Load as sparse, compute as dense" (the
// idea of Flash-LLM, Xia et al., VLDB 2024): global memory moves A's nonzeros only, shared memory holds dense tiles.
//   A [m, k] sparse, nnz values     B [k, n]     C [m, n], overwritten     all row-major; one matrix, no batch
//
// Three steps, each on the caller's stream and memory, none of which waits for the host:
//   spmm_tensor_build   once per pattern: the order in which the kernel reads the entries
//   spmm_tensor_pack    once per change of values: the values in that order
//   spmm_tensor         once per product
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

enum class SpmmTensorMath : std::uint8_t {
  f32,   ///< f32 by three f16 products: each operand, scaled, as the sum of two f16 numbers (consumer_split.cuh)
  tf32,  ///< operands rounded to TF32
  bf16,  ///< values, B and C in bf16
};

/// What is derived from a pattern: pointers into memory that the caller owns. One plan serves f32 and bf16.
struct SpmmTensorPlan {
  std::int64_t m = 0, k = 0, nnz = 0;
  int element_bytes = 0;      ///< in a tile; 2: f32 (two halves) and bf16, 4: tf32
  std::int64_t panels = 0;    ///< of 32 rows
  std::int64_t slabs = 0;     ///< of 128 bytes of k
  std::int64_t capacity = 0;  ///< entries that the arrays have room for; each list is padded to a multiple of eight
  std::int32_t* list_offsets = nullptr;  ///< [panels * slabs + 1]
  std::int32_t* sources = nullptr;       ///< [capacity] index into the CSR values
  std::uint16_t* positions = nullptr;    ///< [capacity] byte in the panel's tile (layout.h)
};

/// Whether the kernel can run this problem: compute capability 9.0, m, k, n, nnz and their tile counts below 2^31, B's
/// data on 16 bytes and its ld a multiple of 16 bytes (the tensor copy's conditions), batch 1. C needs no alignment.
/// m, k, n and nnz may be 0. A value of B that is not finite makes its whole column of C NaN, as in a dense product.
template <class T>
bool spmm_tensor_supports(CudaStream, const SpmmTensorPlan& plan, SpmmTensorMath math, const Dense<const T>& b,
                          const Dense<T>& c);

/// The plan's sizes, without pointers; then the bytes of its arrays and the plan with its arrays in `memory` (aligned to
/// 256 bytes).
SpmmTensorPlan spmm_tensor_plan_sizes(SpmmTensorMath math, std::int64_t m, std::int64_t k, std::int64_t nnz);
std::size_t spmm_tensor_plan_bytes(const SpmmTensorPlan& plan);
SpmmTensorPlan spmm_tensor_place(const SpmmTensorPlan& plan, void* memory);

/// Fills the plan's arrays from a pattern on the device (values are not read). Equal patterns give equal plans.
std::size_t spmm_tensor_build_scratch_bytes(CudaStream, const SpmmTensorPlan& plan);
void spmm_tensor_build(CudaStream, const SpmmTensorPlan& plan, const std::int32_t* row_offsets,
                       const std::int32_t* col_indices, void* scratch);

/// packed = values [nnz] in the plan's order: rounded to TF32 or bf16; for f32 as two halves, rows scaled by powers of two
/// whose inverses [m] follow the values. T: float; Bf16 for bf16 only. `packed` is aligned to 256 bytes.
std::size_t spmm_tensor_packed_bytes(const SpmmTensorPlan& plan, SpmmTensorMath math);
const float* spmm_tensor_row_factors(const SpmmTensorPlan& plan, const void* packed);
template <class T>
void spmm_tensor_pack(CudaStream, const SpmmTensorPlan& plan, SpmmTensorMath math, const std::int32_t* row_offsets,
                      const T* values, void* packed);

/// C = epilogue(A B). T: float for f32 and tf32, Bf16 for bf16. The bias is f32 [m] for every T. C must not overlap B.
/// Same bits on every run. f32: sums of 64 k are made by the tensor cores and added in f32.
template <class T>
void spmm_tensor(CudaStream, const SpmmTensorPlan& plan, SpmmTensorMath math, const void* packed,
                 const Dense<const T>& b, const Dense<T>& c, const Epilogue<const float>& epilogue);

/// The packed bf16 matrix as a dense one [m, k], overwritten: what a dense product needs where that is faster.
void spmm_tensor_densify(CudaStream, const SpmmTensorPlan& plan, const void* packed, const Dense<Bf16>& out);

}  // namespace lacuna::kernels
