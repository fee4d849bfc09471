// f32 SpMM on Hopper's tensor cores: C = epilogue(A B), A sparse without structure. "Load as sparse, compute as dense"
// (the idea of Flash-LLM, Xia et al., VLDB 2024): global memory moves A's nonzeros only, shared memory holds dense
// tiles.
//   A [m, k] sparse, nnz values     B [k, n]     C [m, n], overwritten     all row-major; one matrix, no batch
//
// Three steps, each on the caller's stream and memory, none of which waits for the host:
//   spmm_tensor_build   once per pattern: the order in which the kernel reads the entries
//   spmm_tensor_pack    once per change of values: the values in that order
//   spmm_tensor         once per product
//
// f32 by three products of f16: x = high + low, 11 significant bits each (Ootomo and Yokota, 2022, "Recovering single
// precision accuracy from Tensor Cores", halfhalf), with powers of two that bring both operands into f16's range: A by
// row, B by column and 64 k. Measured against f64, the rms error is 0.4 times that of a chain of f32 multiply-adds (the
// CSR kernel's) at 400 entries a row, equal to it at about 50, 1.5 times it at 13 and 2.1 times at 6: not to be used as
// f32 for less than 8 entries a row. Numbers below 2^-17 of the largest of their row (A) or of their column's 64 k (B)
// lose relative, not absolute, accuracy: they are kept to 2^-40 of it.
// A value of B that is not finite makes its column of C NaN in every row, as in a dense product.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// What is derived from a pattern: pointers into memory that the caller owns.
struct SpmmTensorPlan {
  std::int64_t m = 0, k = 0, nnz = 0;
  std::int64_t panels = 0;    ///< of 32 rows
  std::int64_t slabs = 0;     ///< of 64 k
  std::int64_t capacity = 0;  ///< entries that the arrays have room for; each list is padded to a multiple of eight
  std::int32_t* list_offsets = nullptr;  ///< [panels * slabs + 1]
  std::int32_t* sources = nullptr;       ///< [capacity] index into the CSR values
  std::uint16_t* positions = nullptr;    ///< [capacity] byte in the panel's tile (layout.h)
};

/// The plan's sizes, without pointers; then the bytes of its arrays, and the plan with its arrays in `memory` (aligned
/// to 256 bytes).
SpmmTensorPlan spmm_tensor_plan_sizes(std::int64_t m, std::int64_t k, std::int64_t nnz);
std::size_t spmm_tensor_plan_bytes(const SpmmTensorPlan& plan);
SpmmTensorPlan spmm_tensor_place(const SpmmTensorPlan& plan, void* memory);

/// Fills the plan's arrays from a pattern on the device (values are not read). Equal patterns give equal plans.
std::size_t spmm_tensor_build_scratch_bytes(CudaStream, const SpmmTensorPlan& plan);
void spmm_tensor_build(CudaStream, const SpmmTensorPlan& plan, const std::int32_t* row_offsets,
                       const std::int32_t* col_indices, void* scratch);

/// packed = values [nnz] in the plan's order, each as two f16 of one word; rows are scaled by powers of two, whose
/// inverses [m] follow the values. `packed` is aligned to 256 bytes.
std::size_t spmm_tensor_packed_bytes(const SpmmTensorPlan& plan);
void spmm_tensor_pack(CudaStream, const SpmmTensorPlan& plan, const std::int32_t* row_offsets, const float* values,
                      void* packed);
const float* spmm_tensor_row_factors(const SpmmTensorPlan& plan, const void* packed);  ///< those inverses

/// Whether the kernel can run this problem: compute capability 9.0 and a build for sm_90a; m, k, n and their tile
/// counts below 2^31; B's data on 16 bytes and its ld a multiple of 4 (the tensor copy's conditions); batch 1. C needs
/// no alignment. m, k, n and nnz may be 0.
bool spmm_tensor_supports(CudaStream, const SpmmTensorPlan& plan, const Dense<const float>& b, const Dense<float>& c);

/// C = epilogue(A B). C must not overlap B. Same bits on every run.
void spmm_tensor(CudaStream, const SpmmTensorPlan& plan, const void* packed, const Dense<const float>& b,
                 const Dense<float>& c, const Epilogue<const float>& epilogue);

/// packed = values [nnz] in the plan's order, rounded to bf16; [capacity]. T: float or Bf16.
template <class T>
void spmm_tensor_pack_bf16(CudaStream, const SpmmTensorPlan& plan, const T* values, Bf16* packed);

/// The packed bf16 matrix as a dense one [m, k], overwritten. In bf16 (and TF32) a dense product of it is faster than
/// any tensor-core SpMM that was tried (docs/kernels/spmm_tensor.md).
void spmm_tensor_densify(CudaStream, const SpmmTensorPlan& plan, const Bf16* packed, const Dense<Bf16>& out);

}  // namespace lacuna::kernels
