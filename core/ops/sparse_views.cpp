#include "core/ops/sparse_views.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "core/ops/checks.h"

namespace lacuna {

std::string describe(const SparseTensor& a) {
  return fmt::format("{} over a [{}, {}] pattern with {} entries", describe(a.values), a.topology->rows(),
                     a.topology->cols(), a.topology->nnz());
}

void require_pattern(const char* op, const TopologyPtr& pattern, const Tensor& like) {
  if (!pattern) throw ValueError(op, "the pattern is null; it must be a Topology");
  if (!(pattern->device() == like.device())) {
    throw DeviceError(op, fmt::format("the pattern is on {}, its operand is {}; they must be on one device",
                                      to_string(pattern->device()), describe(like)));
  }
}

void require_sparse(const char* op, const char* name, const SparseTensor& a) {
  require_defined(op, name, a.values);
  require_pattern(op, a.topology, a.values);
  const int rank = a.values.rank();
  if ((rank != 1 && rank != 2) || a.values.dim(-1) != a.topology->nnz()) {
    throw ShapeError(op, fmt::format("{} is {}; its values must be [nnz] or [batch, nnz]", name, describe(a)));
  }
}

}  // namespace lacuna
