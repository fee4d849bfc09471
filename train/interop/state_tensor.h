// A weight between Lacuna and other frameworks: named nowhere, on the CPU, dense or on a pattern.
#pragma once

#include <cstdint>
#include <vector>

#include "core/topology.h"

namespace lacuna::interop {

/// A weight as a file or a model has it. Sparse ones are matrices whatever their shape says: of a shape [d0, d1, ...] the
/// pattern is over [d0, d1 * ...], row-major, so a convolution's [out, in, 3, 3] is a pattern over [out, in * 9].
struct StateTensor {
  Shape shape;                ///< the file's; extents behind the first merge in a pattern
  Tensor value;               ///< on the CPU: shape when dense, [nnz] when sparse
  TopologyPtr topology;       ///< null when dense
  bool guessed_cols = false;  ///< CSR whose file does not say how many columns there are: taken as the last one used

  bool is_sparse() const { return topology != nullptr; }
};

/// [d0, product of the others]; rank 1 gives [d0, 1].
Shape matrix_shape(const Shape& shape);

/// Every entry, absent ones 0, in `shape`. f32.
Tensor dense_value(const StateTensor& tensor);
/// 1 where an entry is stored, else 0, in `shape`. f32, as torch.nn.utils.prune holds masks.
Tensor dense_mask(const StateTensor& tensor);

/// The values of a dense f32 tensor that the mask (f32 or u8, 0 or 1, same shape) keeps, with its pattern. Throws
/// ValueError for other shapes, dtypes and masks.
StateTensor masked(const Tensor& dense, const Tensor& mask);
/// A dense f32 tensor stored without its exact zeros (0 and -0).
StateTensor without_zeros(const StateTensor& tensor);

/// Of a matrix. Throws ShapeError for other ranks.
StateTensor transposed(const StateTensor& tensor);

/// Rows [begin, end) of the first axis.
StateTensor row_slice(const StateTensor& tensor, std::int64_t begin, std::int64_t end);
/// One below another along the first axis; sparse when any part is (dense parts are then full patterns). Throws
/// ShapeError unless all have the same other extents.
StateTensor stack_rows(const std::vector<StateTensor>& parts);

}  // namespace lacuna::interop
