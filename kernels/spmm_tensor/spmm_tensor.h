// f32 SpMM on Hopper's tensor cores: C = epilogue(A B), A sparse without structure, by way of a transient dense copy.
//   A [m, k] sparse, nnz values     B [k, n]     C [m, n], overwritten     all row-major; one matrix, no batch
//
// Two kernels on the caller's stream and memory, neither of which waits for the host; nothing is kept between calls:
//   densify.cuh   A as two dense f16 matrices, the high and the low halves of its values; zeros where nothing is stored
//   product.cuh   their product with B
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

#include "kernels/runtime/views.h"
#include "kernels/spmm_tensor/tiling.h"

namespace lacuna::kernels {

/// Of the dense copies, 4 m k bytes for up to 128 MiB (larger matrices go through in groups of rows), and of B where its
/// rows do not start on 16 bytes.
std::size_t spmm_tensor_scratch_bytes(const Csr<const float>& a, const Dense<const float>& b);

/// Whether the kernel can run this problem: compute capability 9.0 and a build for sm_90a; m, k and n below 2^30;
/// batch 1. m, k, n and nnz may be 0.
bool spmm_tensor_supports(CudaStream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c);

/// C = epilogue(A B). C must not overlap B. `scratch` on 256 bytes. Same bits on every run with the same tiling.
void spmm_tensor(CudaStream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c,
                 const Epilogue<const float>& epilogue, const SpmmTensorTiling& tiling, void* scratch);

}  // namespace lacuna::kernels
