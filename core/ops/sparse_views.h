// Tensors as the kernels' views; for ops on sparse operands. Shapes have been checked by then.
#pragma once

#include <type_traits>

#include "core/topology.h"
#include "kernels/runtime/views.h"

namespace lacuna {

/// values [nnz], shared by any batch, or [batch, nnz]. `T` may be const. With the row order where kernels use one
/// (CUDA).
template <class T>
Csr<T> csr_view(const Tensor& values, const Topology& topology, bool with_order = false) {
  const bool batched = values.rank() == 2;
  const std::int32_t* order =
      with_order && topology.device().is_cuda() ? topology.row_order().data<std::int32_t>() : nullptr;
  return {.rows = topology.rows(),
          .cols = topology.cols(),
          .nnz = topology.nnz(),
          .row_offsets = topology.row_offsets().data<std::int32_t>(),
          .col_indices = topology.col_indices().data<std::int32_t>(),
          .values = values.data<std::remove_const_t<T>>(),
          .row_order = order,
          .settled = order != nullptr && topology.settled(),
          .batch = batched ? values.dim(0) : 1,
          .values_stride = batched ? topology.nnz() : 0};
}

/// [rows, cols] or [batch, rows, cols].
template <class T>
Dense<T> dense_view(const Tensor& x) {
  const std::int64_t rows = x.dim(-2), cols = x.dim(-1);
  return {.data = x.data<std::remove_const_t<T>>(),
          .rows = rows,
          .cols = cols,
          .ld = cols,
          .batch = x.rank() == 3 ? x.dim(0) : 1,
          .batch_stride = x.rank() == 3 ? rows * cols : 0};
}

/// Throws ValueError without a topology or values; ShapeError unless values are [nnz] or [batch, nnz]; DeviceError when
/// values and pattern lie apart.
void require_sparse(const char* op, const char* name, const SparseTensor& a);
/// The pattern's side of the same. Throws ValueError, DeviceError.
void require_pattern(const char* op, const TopologyPtr& pattern, const Tensor& like);
/// "f32[40] over a [16, 32] pattern with 40 entries on cpu".
std::string describe(const SparseTensor& a);

}  // namespace lacuna
