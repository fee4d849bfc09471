#include "train/interop/state_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "core/errors.h"

namespace lacuna::interop {

namespace {

/// A pattern over [rows, cols] under construction, with its values.
struct Entries {
  std::vector<std::int32_t> offsets{0};
  std::vector<std::int32_t> columns;
  std::vector<float> values;

  void add(std::int64_t column, float value) {
    columns.push_back(static_cast<std::int32_t>(column));
    values.push_back(value);
  }
  void end_row() { offsets.push_back(static_cast<std::int32_t>(columns.size())); }

  StateTensor over(const Shape& shape) const {
    const Shape matrix = matrix_shape(shape);
    const auto nnz = static_cast<std::int64_t>(columns.size());
    return {
        shape, Tensor::from(values, {nnz}),
        Topology::from_csr(matrix[0], matrix[1], Tensor::from(offsets, {matrix[0] + 1}), Tensor::from(columns, {nnz}))};
  }
};

/// Calls visit(row, column, value) for each stored entry, and row_end(row) after each row.
template <class Visit, class RowEnd>
void walk(const StateTensor& tensor, Visit&& visit, RowEnd&& row_end) {
  const float* values = tensor.value.data<float>();
  const Shape matrix = matrix_shape(tensor.shape);
  if (!tensor.is_sparse()) {
    for (std::int64_t row = 0, i = 0; row < matrix[0]; ++row) {
      for (std::int64_t column = 0; column < matrix[1]; ++column) visit(row, column, values[i++]);
      row_end(row);
    }
    return;
  }
  const auto* offsets = tensor.topology->row_offsets().data<std::int32_t>();
  const auto* columns = tensor.topology->col_indices().data<std::int32_t>();
  for (std::int64_t row = 0; row < tensor.topology->rows(); ++row) {
    for (std::int64_t i = offsets[row]; i < offsets[row + 1]; ++i) visit(row, columns[i], values[i]);
    row_end(row);
  }
}

constexpr auto kNothing = [](std::int64_t) {};

/// A dense tensor of `shape` with at(value) at each stored entry and 0 elsewhere.
template <class At>
Tensor spread(const StateTensor& tensor, At&& at) {
  Tensor result = Tensor::zeros(tensor.shape, DType::f32);
  float* p = result.data<float>();
  const std::int64_t cols = matrix_shape(tensor.shape)[1];
  walk(
      tensor, [&](std::int64_t row, std::int64_t column, float value) { p[row * cols + column] = at(value); },
      kNothing);
  return result;
}

Shape with_first(const Shape& shape, std::int64_t first) {
  Shape result{first};
  for (int axis = 1; axis < shape.rank(); ++axis) result.push_back(shape[axis]);
  return result;
}

}  // namespace

Shape matrix_shape(const Shape& shape) {
  if (shape.rank() == 0) return {1, 1};
  return {shape[0],
          std::accumulate(shape.begin() + 1, shape.end(), std::int64_t{1}, [](auto a, auto b) { return a * b; })};
}

Tensor dense_value(const StateTensor& tensor) {
  return tensor.is_sparse() ? spread(tensor, [](float value) { return value; }) : tensor.value;
}

Tensor dense_mask(const StateTensor& tensor) {
  return tensor.is_sparse() ? spread(tensor, [](float) { return 1.0f; }) : Tensor::full(tensor.shape, 1.0, DType::f32);
}

StateTensor masked(const Tensor& dense, const Tensor& mask) {
  if (mask.shape() != dense.shape()) {
    throw ValueError("mask", fmt::format("the mask is {}, the values are {}; they must have one shape",
                                         to_string(mask.shape()), to_string(dense.shape())));
  }
  if (mask.dtype() != DType::f32 && mask.dtype() != DType::u8) {
    throw ValueError("mask",
                     fmt::format("the mask is {}; must be floating point, u8 or bool", to_string(mask.dtype())));
  }
  const auto keep = [&](std::int64_t i) {
    const double m =
        mask.dtype() == DType::u8 ? mask.data<std::uint8_t>()[i] : static_cast<double>(mask.data<float>()[i]);
    if (m != 0 && m != 1)
      throw ValueError("mask", fmt::format("the mask holds {} at element {}; must be 0 or 1", m, i));
    return m == 1;
  };
  Entries entries;
  std::int64_t i = 0;
  walk(
      {dense.shape(), dense, nullptr},
      [&](std::int64_t, std::int64_t column, float value) {
        if (keep(i++)) entries.add(column, value);
      },
      [&](std::int64_t) { entries.end_row(); });
  return entries.over(dense.shape());
}

StateTensor without_zeros(const StateTensor& tensor) {
  Entries entries;
  walk(
      tensor,
      [&](std::int64_t, std::int64_t column, float value) {
        if (value != 0) entries.add(column, value);
      },
      [&](std::int64_t) { entries.end_row(); });
  return entries.over(tensor.shape);
}

StateTensor transposed(const StateTensor& tensor) {
  if (tensor.shape.rank() != 2) {
    throw ShapeError("transpose", fmt::format("{}; only a matrix can be transposed", to_string(tensor.shape)));
  }
  const Shape turned{tensor.shape[1], tensor.shape[0]};
  if (!tensor.is_sparse()) {
    Tensor value = Tensor::empty(turned, DType::f32);
    float* p = value.data<float>();
    walk(
        tensor, [&](std::int64_t row, std::int64_t column, float x) { p[column * turned[1] + row] = x; }, kNothing);
    return {turned, value, nullptr};
  }
  const TransposedTopology& t = tensor.topology->transposed();
  std::vector<float> values;
  for (const std::int32_t from : t.permutation.to_vector<std::int32_t>())
    values.push_back(tensor.value.data<float>()[from]);
  const auto nnz = static_cast<std::int64_t>(values.size());
  return {turned, Tensor::from(values, {nnz}), t.topology};
}

StateTensor row_slice(const StateTensor& tensor, std::int64_t begin, std::int64_t end) {
  const Shape shape = with_first(tensor.shape, end - begin);
  if (!tensor.is_sparse()) return {shape, tensor.value.slice(begin, end).clone(), nullptr};
  Entries entries;
  walk(
      tensor,
      [&](std::int64_t row, std::int64_t column, float value) {
        if (row >= begin && row < end) entries.add(column, value);
      },
      [&](std::int64_t row) {
        if (row >= begin && row < end) entries.end_row();
      });
  return entries.over(shape);
}

StateTensor stack_rows(const std::vector<StateTensor>& parts) {
  std::int64_t rows = 0;
  bool sparse = false;
  for (const StateTensor& part : parts) {
    if (part.shape.rank() == 0 || with_first(part.shape, 0) != with_first(parts.front().shape, 0)) {
      throw ShapeError("stack_rows", fmt::format("{} below {}; all extents but the first must agree",
                                                 to_string(part.shape), to_string(parts.front().shape)));
    }
    rows += part.shape[0];
    sparse = sparse || part.is_sparse();
  }
  const Shape shape = with_first(parts.front().shape, rows);
  Entries entries;
  for (const StateTensor& part : parts) {
    walk(
        part, [&](std::int64_t, std::int64_t column, float value) { entries.add(column, value); },
        [&](std::int64_t) { entries.end_row(); });
  }
  if (sparse) return entries.over(shape);
  return {shape, Tensor::from(entries.values, shape), nullptr};
}

}  // namespace lacuna::interop
