#include "core/ops/dropout.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/dropout/dropout.h"

namespace lacuna {

namespace {

Tensor dropout_into(const Tensor& out, const Tensor& x, double p, RandomKey key) {
  visit_float("dropout", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::dropout<T>(stream, x.data<T>(), out.data<T>(), x.numel(), p, key.seed, key.sequence);
  });
  return out;
}

}  // namespace

Tensor dropout(const Tensor& x, double p, RandomKey key) {
  const OpScope scope("dropout");
  require_defined("dropout", "x", x);
  if (!(p >= 0 && p < 1)) throw ValueError("dropout", "p is " + std::to_string(p) + "; it must be in [0, 1)");
  if (p == 0) return x;
  return dropout_into(Tensor::empty_like(x), x, p, key);
}

Var dropout(const Var& x, double p, RandomKey key) {
  return record("dropout", dropout(x.data(), p, key), {x}, [p, key](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return p == 0 ? dc : dropout_into(reuse_or_empty(dc), dc, p, key); });
  });
}

}  // namespace lacuna
