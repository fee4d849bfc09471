// The tensor-core routes of spmm and sddmm: f32-accurate products of unstructured sparse matrices on Hopper.
#pragma once

#include "core/topology.h"
#include "kernels/runtime/views.h"

namespace lacuna {

struct SddmmOperand;

/// out [m, n] = activation(A B + bias) on tensor cores (kernels/spmm_tensor), f32-accurate. False, with nothing done,
/// where the kernel cannot take these operands: not f32 on CUDA, not compute capability 9.0, a batch of several.
/// Overwrites out, which must not overlap b. The error is relative to the largest of A's row and of B's column, so
/// numbers 2^17 times smaller than those lose bits.
bool spmm_on_tensor_cores(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias,
                          Activation activation);

/// values [nnz] or [batch, nnz] = factor * (A B^T) on the pattern (kernels/sddmm/sddmm_tiles.h): as accurate as f32, or
/// in TF32 where the device's precision says so; bf16 a and b with values in bf16 or f32, summed in f32. False, with nothing done, where the kernel cannot take these operands.
bool sddmm_on_tensor_cores(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern,
                           double factor);

/// The same of bf16 matrices that may lie transposed, values f32 (core/ops/sddmm.h).
bool sddmm_on_tensor_cores(const Tensor& values, const SddmmOperand& a, const SddmmOperand& b,
                           const TopologyPtr& pattern, double factor);

}  // namespace lacuna
