#include "core/ops/sum_rows.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/sum_rows/sum_rows.h"

namespace lacuna {

Tensor sum_rows(const Tensor& x) {
  const OpScope scope("sum_rows");
  require_rank("sum_rows", "x", x, 2);
  const std::int64_t m = x.dim(0), n = x.dim(1);
  const Tensor out = Tensor::empty({n}, accumulator_of(x.dtype()), x.device());
  const Tensor scratch = activation_scratch_for("sum_rows", x, [&](auto stream, auto zero) {
    return kernels::sum_rows_scratch_bytes<decltype(zero)>(stream, m, n);
  });
  visit_activation("sum_rows", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sum_rows<T>(stream, Dense<const T>{x.data<T>(), m, n, n}, out.data<acc_t<T>>(), scratch.raw());
  });
  return out;
}

}  // namespace lacuna
