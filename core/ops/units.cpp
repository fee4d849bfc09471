#include "core/ops/units.h"

#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/select/units.h"

namespace lacuna {

namespace {

/// The matrix that `per_entry` numbers its entries by.
kernels::Pattern matrix_of(const char* op, const TopologyPtr& pattern, std::int64_t rows, std::int64_t cols) {
  if (!pattern) return {rows, cols, rows * cols};
  if (pattern->rows() != rows || pattern->cols() != cols)
    throw ShapeError(op, fmt::format("the pattern is [{}, {}], the matrix [{}, {}]; shapes must agree", pattern->rows(),
                                     pattern->cols(), rows, cols));
  return {rows, cols, pattern->nnz(), pattern->row_offsets().data<std::int32_t>(),
          pattern->col_indices().data<std::int32_t>()};
}

void check(const char* op, const Tensor& x, std::int64_t numel, const TopologyPtr& pattern) {
  require_defined(op, "x", x);
  if (x.numel() != numel) throw ShapeError(op, fmt::format("{}; must hold {} numbers", describe(x), numel));
  if (pattern) require_pattern(op, pattern, x);
}

}  // namespace

Tensor unit_scores(const Tensor& scores, const TopologyPtr& pattern, const UnitGrid& grid) {
  const OpScope scope("unit_scores");
  const kernels::Pattern matrix = matrix_of("unit_scores", pattern, grid.rows, grid.cols);
  check("unit_scores", scores, matrix.nnz, pattern);
  const Tensor out = Tensor::empty({grid.count()}, scores.dtype(), scores.device());
  visit_float("unit_scores", scores, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::unit_scores<T>(stream, matrix, scores.data<T>(), grid.unit_rows, grid.unit_cols, out.data<T>());
  });
  return out;
}

Tensor expand_units(const Tensor& keep, const TopologyPtr& pattern, const UnitGrid& grid) {
  const OpScope scope("expand_units");
  const kernels::Pattern matrix = matrix_of("expand_units", pattern, grid.rows, grid.cols);
  check("expand_units", keep, grid.count(), pattern);
  const Tensor out = Tensor::empty({matrix.nnz}, DType::u8, keep.device());
  visit_device("expand_units", keep.device(), [&](auto stream) {
    kernels::expand_units(stream, matrix, keep.data<std::uint8_t>(), grid.unit_rows, grid.unit_cols,
                          out.data<std::uint8_t>());
  });
  return out;
}

Tensor top_n_of_m(const Tensor& scores, const TopologyPtr& pattern, std::int64_t n, std::int64_t m) {
  const OpScope scope("top_n_of_m");
  require_defined("top_n_of_m", "scores", scores);
  if (!pattern) require_rank("top_n_of_m", "scores", scores, 2);
  if (n < 0 || m < 1 || n > m) throw ValueError("top_n_of_m", fmt::format("n {}, m {}; must be 0 <= n <= m", n, m));
  const kernels::Pattern matrix = matrix_of("top_n_of_m", pattern, pattern ? pattern->rows() : scores.dim(0),
                                            pattern ? pattern->cols() : scores.dim(1));
  check("top_n_of_m", scores, matrix.nnz, pattern);
  const Tensor keep = Tensor::empty(scores.shape(), DType::u8, scores.device());
  visit_float("top_n_of_m", scores, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::top_n_of_m<T>(stream, matrix, scores.data<T>(), n, m, keep.data<std::uint8_t>());
  });
  return keep;
}

}  // namespace lacuna
