#include "core/ops/sparse_transpose.h"

#include "core/ops/sparse_views.h"
#include "core/ops/topology_ops.h"

namespace lacuna {

namespace {

/// Values of the transpose of a pattern, given those over it.
Tensor transposed_values(const Tensor& values, const Topology& topology) {
  return gather_or_zero(values, topology.transposed().permutation);
}

}  // namespace

SparseTensor transpose(const SparseTensor& a) {
  OpScope scope("sparse_transpose");
  require_sparse("sparse_transpose", "a", a);
  return {transposed_values(a.values, *a.topology), a.topology->transposed().topology};
}

SparseVar transpose(const SparseVar& a) {
  SparseTensor result = transpose(data(a));
  const TopologyPtr turned = result.topology;
  // Transposing twice gives a's entries in a's order: rows ascend, and columns within them.
  Var values = record("sparse_transpose", result.values, {a.values}, [turned](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return transposed_values(dc, *turned); });
  });
  return {values, turned};
}

}  // namespace lacuna
