#include "core/ops/sparse_softmax.h"

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/sparse_softmax/sparse_softmax.h"

namespace lacuna {

void sparse_softmax_into(const Tensor& p, const SparseTensor& s, double scale) {
  OpScope scope("sparse_softmax");
  require_sparse("sparse_softmax", "s", s);
  require_same_shape("sparse_softmax", "p", p, "s", s.values);
  visit_float("sparse_softmax", s.values, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sparse_softmax<T>(stream, csr_view<const T>(s.values, *s.topology, true), static_cast<T>(scale),
                               p.data<T>());
  });
}

SparseTensor sparse_softmax(const SparseTensor& s, double scale) {
  OpScope scope("sparse_softmax");
  require_sparse("sparse_softmax", "s", s);
  const Tensor p = Tensor::empty_like(s.values);
  sparse_softmax_into(p, s, scale);
  return {p, s.topology};
}

void sparse_softmax_backward_into(const Tensor& ds, const SparseTensor& p, const Tensor& dp, double scale) {
  OpScope scope("sparse_softmax_backward");
  require_sparse("sparse_softmax_backward", "p", p);
  require_same_shape("sparse_softmax_backward", "p", p.values, "dp", dp);
  require_same_shape("sparse_softmax_backward", "ds", ds, "dp", dp);
  visit_float("sparse_softmax_backward", dp, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sparse_softmax_backward<T>(stream, csr_view<const T>(p.values, *p.topology, true), dp.data<T>(),
                                        static_cast<T>(scale), ds.data<T>());
  });
}

Tensor sparse_softmax_backward(const SparseTensor& p, const Tensor& dp, double scale) {
  OpScope scope("sparse_softmax_backward");
  require_defined("sparse_softmax_backward", "dp", dp);
  const Tensor ds = Tensor::empty_like(dp);
  sparse_softmax_backward_into(ds, p, dp, scale);
  return ds;
}

SparseVar sparse_softmax(const SparseVar& s, double scale) {
  const SparseTensor p = sparse_softmax(data(s), scale);
  Var values = record("sparse_softmax", p.values, {s.values}, [p, scale](const Tensor& dp, Grads& grads) {
    grads.add(0, [&] {
      const Tensor ds = reuse_or_empty(dp);
      sparse_softmax_backward_into(ds, p, dp, scale);
      return ds;
    });
  });
  return {values, s.topology};
}

}  // namespace lacuna
