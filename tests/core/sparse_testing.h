// Patterns for tests of sparse ops.
#pragma once

#include <random>
#include <vector>

#include "core/topology.h"

namespace lacuna {

/// A pattern in which each entry is present with probability 1 - sparsity.
inline TopologyPtr random_topology(std::int64_t rows, std::int64_t cols, double sparsity, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<std::int32_t> offsets{0}, columns;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      if (static_cast<double>(generator()) / 4294967296.0 >= sparsity) columns.push_back(static_cast<std::int32_t>(c));
    }
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
  return Topology::from_csr(rows, cols, Tensor::from(offsets, {rows + 1}),
                            Tensor::from(columns, {static_cast<std::int64_t>(columns.size())}));
}

/// Row 0 empty, row 1 full, the last row empty, the others random: needs 3 rows at least.
inline TopologyPtr awkward_topology(std::int64_t rows, std::int64_t cols, unsigned seed) {
  const TopologyPtr base = random_topology(rows, cols, 0.6, seed);
  const std::vector<std::int32_t> from = base->row_offsets().to_vector<std::int32_t>();
  const std::vector<std::int32_t> base_columns = base->col_indices().to_vector<std::int32_t>();
  std::vector<std::int32_t> offsets{0}, columns;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::size_t i = static_cast<std::size_t>(r);
    if (r == 1) {
      for (std::int64_t c = 0; c < cols; ++c) columns.push_back(static_cast<std::int32_t>(c));
    } else if (r != 0 && r != rows - 1) {
      columns.insert(columns.end(), base_columns.begin() + from[i], base_columns.begin() + from[i + 1]);
    }
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
  return Topology::from_csr(rows, cols, Tensor::from(offsets, {rows + 1}),
                            Tensor::from(columns, {static_cast<std::int64_t>(columns.size())}));
}

/// Dense f64 copy of values over a pattern, by plain loops: [rows, cols] or [batch, rows, cols].
inline Tensor naive_dense(const Tensor& values, const Topology& topology) {
  const bool batched = values.rank() == 2;
  const std::int64_t batch = batched ? values.dim(0) : 1, rows = topology.rows(), cols = topology.cols();
  Tensor out = Tensor::zeros(batched ? Shape{batch, rows, cols} : Shape{rows, cols}, DType::f64);
  const std::vector<std::int32_t> offsets = topology.row_offsets().to_vector<std::int32_t>();
  const std::vector<std::int32_t> columns = topology.col_indices().to_vector<std::int32_t>();
  const std::vector<double> source = values.to_vector<double>();
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int32_t i = offsets[static_cast<std::size_t>(r)]; i < offsets[static_cast<std::size_t>(r) + 1]; ++i) {
        out.data<double>()[(b * rows + r) * cols + columns[static_cast<std::size_t>(i)]] =
            source[static_cast<std::size_t>(b * topology.nnz() + i)];
      }
    }
  }
  return out;
}

/// The pattern on the device of an operand.
inline TopologyPtr beside(const TopologyPtr& topology, const Var& operand) {
  return topology->to(operand.data().device());
}

}  // namespace lacuna
