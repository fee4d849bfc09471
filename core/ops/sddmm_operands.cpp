// SDDMM of operands that may lie transposed.
#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/permute/permute.h"

namespace lacuna {

namespace {

std::int64_t sum_length(const SddmmOperand& o) { return o.x.dim(o.transposed ? 0 : 1); }

void require_operand(const char* name, const SddmmOperand& o, std::int64_t rows) {
  require_rank("sddmm", name, o.x, 2);
  if (!o.transposed && o.x.dim(0) != rows)
    throw ShapeError("sddmm", fmt::format("{} is {}; must have the pattern's {} rows", name, describe(o.x), rows));
  if (o.transposed && (o.first < 0 || o.first > o.x.dim(1) - rows)) {
    throw ShapeError("sddmm", fmt::format("{} is {} and transposed; it must have columns [{}, {})", name, describe(o.x),
                                          o.first, o.first + rows));
  }
}

/// [rows, k]: the tensor itself, or a transposed copy of the columns in question.
Tensor upright(const SddmmOperand& o, std::int64_t rows) {
  if (!o.transposed) return o.x;
  const std::int64_t k = o.x.dim(0), width = o.x.dim(1);
  const Tensor y = Tensor::empty({rows, k}, o.x.dtype(), o.x.device());
  visit_activation("sddmm", o.x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::transpose_blocks<T>(stream, {1, 1, k, rows}, o.x.data<T>() + o.first, {width}, y.data<T>(), {k});
  });
  return y;
}

}  // namespace

SparseTensor sddmm_wide(const SddmmOperand& a, const SddmmOperand& b, const TopologyPtr& pattern, double factor) {
  OpScope scope("sddmm");
  require_same_device_and_dtype("sddmm", "a", a.x, "b", b.x);
  require_pattern("sddmm", pattern, a.x);
  require_operand("a", a, pattern->rows());
  require_operand("b", b, pattern->cols());
  const std::int64_t k = sum_length(a);
  if (sum_length(b) != k) {
    throw ShapeError("sddmm", fmt::format("{}{}{}; both must have one k", describe_pair("a", a.x, "b", b.x),
                                          a.transposed ? ", a transposed" : "", b.transposed ? ", b transposed" : ""));
  }
  return sddmm_wide(upright(a, pattern->rows()), upright(b, pattern->cols()), pattern, factor);
}

}  // namespace lacuna
