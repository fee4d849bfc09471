// Eigen's sparse times dense product, CPU. Row-major on all sides, which is the form it runs in threads.
#include <Eigen/SparseCore>

#include "app/bench/contender.h"
#include "core/ops/sparse_transpose.h"

namespace lacuna::bench {

namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using SparseMatrix = Eigen::SparseMatrix<float, Eigen::RowMajor, std::int32_t>;

Prepared prepare(const Problem& p) {
  return {[&p](int call) {
    // The transpose's pattern is cached and its values are gathered in each call, as this library's are.
    SparseTensor a{p.operand(0, call), p.topology(call)};
    if (p.op == Op::spmm_transposed) a = transpose(a);
    const Tensor b = p.operand(1, call), c = p.result(call);
    const Topology& t = *a.topology;
    const Eigen::Map<const SparseMatrix> left(t.rows(), t.cols(), t.nnz(), t.row_offsets().data<std::int32_t>(),
                                              t.col_indices().data<std::int32_t>(), a.values.data<float>());
    const Eigen::Map<const Matrix> right(b.data<float>(), b.dim(0), b.dim(1));
    Eigen::Map<Matrix>(c.data<float>(), c.dim(0), c.dim(1)).noalias() = left * right;
    return c;
  }};
}

}  // namespace

void add_eigen_sparse(std::vector<Contender>& list) {
  list.push_back({"eigen_sparse", Kind::sparse,
                  [](const Problem& p) {
                    return p.device.is_cpu() && p.precision == Precision::f32 && p.batch == 1 &&
                           (p.op == Op::spmm || p.op == Op::spmm_transposed);
                  },
                  prepare});
}

}  // namespace lacuna::bench
