#include "core/ops/densify.h"

#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/topology/topology.h"

namespace lacuna {

Tensor densify(const SparseTensor& a) {
  OpScope scope("densify");
  require_sparse("densify", "a", a);
  const std::int64_t rows = a.topology->rows(), cols = a.topology->cols();
  const Shape shape = a.values.rank() == 2 ? Shape{a.values.dim(0), rows, cols} : Shape{rows, cols};
  const Tensor out = Tensor::empty(shape, a.values.dtype(), a.values.device());
  visit_activation("densify", a.values, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::densify<T>(stream, csr_view<const T>(a.values, *a.topology), dense_view<T>(out));
  });
  return out;
}

Var densify(const SparseVar& a) {
  return record("densify", densify(data(a)), {a.values}, [topology = a.topology](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return sample(dc, topology).values; });
  });
}

SparseTensor sample(const Tensor& dense, const TopologyPtr& pattern) {
  OpScope scope("sample");
  require_defined("sample", "dense", dense);
  require_pattern("sample", pattern, dense);
  const int rank = dense.rank();
  if ((rank != 2 && rank != 3) || dense.dim(-2) != pattern->rows() || dense.dim(-1) != pattern->cols()) {
    throw ShapeError("sample",
                     fmt::format("dense is {}, the pattern is [{}, {}]; they must agree, but for a batch in front",
                                 describe(dense), pattern->rows(), pattern->cols()));
  }
  const Shape shape = rank == 3 ? Shape{dense.dim(0), pattern->nnz()} : Shape{pattern->nnz()};
  const Tensor values = Tensor::empty(shape, dense.dtype(), dense.device());
  visit_activation("sample", dense, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sample<T>(stream, dense_view<const T>(dense), csr_view<T>(values, *pattern));
  });
  return {values, pattern};
}

SparseVar sample(const Var& dense, const TopologyPtr& pattern) {
  return {record("sample", sample(dense.data(), pattern).values, {dense},
                 [pattern](const Tensor& dc, Grads& grads) {
                   grads.add(0, [&] { return densify(SparseTensor{dc, pattern}); });
                 }),
          pattern};
}

}  // namespace lacuna
