// Sampled dense-dense product: the gradient of a sparse weight, and attention's scores.
//   m, n: rows and columns of the pattern; k: the dimension that is summed over
#pragma once

#include "core/ops/kernel_choice.h"
#include "core/topology.h"

namespace lacuna {

/// scale * (A B^T) at the entries of a pattern.
///   a [m, k] or [batch, m, k]     b [n, k] or [batch, n, k], dtype, device and rank of a     pattern [m, n]
///   returns values [nnz] or [batch, nnz] over `pattern`
/// Runs on the sparse kernel or as a transient dense product that is then sampled (core/ops/kernel_choice.h).
/// Throws ShapeError, DtypeError, DeviceError.
/// Gradients: da = scale * S b and db = scale * S^T a, S the values' gradient over the pattern.
SparseTensor sddmm(const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double scale = 1);
SparseVar sddmm(const Var& a, const Var& b, const TopologyPtr& pattern, double scale = 1);

/// The same with values left in f32 where a and b are bf16: a sparse weight's gradient, which its f32 master takes
/// unrounded.
SparseTensor sddmm_wide(const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double scale = 1);

/// One operand of sddmm_wide as it lies in memory: a matrix of r rows along k, r being the pattern's rows or columns.
struct SddmmOperand {
  Tensor x;  ///< [r, k]; transposed [k, width], of which columns [first, first + r) are the operand's rows
  bool transposed = false;  ///< so that a product of tokens x features matrices needs no copies
  std::int64_t first = 0;   ///< transposed alone
};

/// sddmm_wide of single matrices, either of which may lie transposed: a [m, k] or [k, ...], b [n, k] or [k, ...].
/// Transposed ones are copied; the copies die here. Throws ShapeError, DtypeError, DeviceError.
SparseTensor sddmm_wide(const SddmmOperand& a, const SddmmOperand& b, const TopologyPtr& pattern, double scale = 1);

/// sddmm by the route given, overwriting `values` [nnz] or [batch, nnz] (which may be a slice, and f32 beside bf16 a and b), by the route
/// Not on the tape.
void sddmm_into(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double scale,
                Route route);

/// The problem as the choice between kernels sees it. Checks shapes; throws as sddmm does.
ProductShape sddmm_problem(const Tensor& a, const Tensor& b, const TopologyPtr& pattern);

}  // namespace lacuna
