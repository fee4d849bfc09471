#include "core/ops/softmax.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/softmax/softmax.h"

namespace lacuna {
namespace {

// All leading axes as rows.
template <class T, class Element = const T>
Dense<Element> rows_of(const Tensor& t) {
  const std::int64_t cols = t.dim(-1);
  return {t.data<T>(), cols == 0 ? 0 : t.numel() / cols, cols, cols};
}

Tensor gradient(const Tensor& p, const Tensor& dp, double scale, bool causal) {
  const OpScope scope("softmax gradient");
  const Tensor dx = reuse_or_empty(dp);
  visit_float("softmax", p, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::softmax_dx<T>(stream, rows_of<T>(p), rows_of<T>(dp), scale, causal, rows_of<T, T>(dx));
  });
  return dx;
}

}  // namespace

Tensor softmax(const Tensor& x, double scale, bool causal) {
  const OpScope scope("softmax");
  require_defined("softmax", "x", x);
  if (x.rank() < 1) throw ShapeError("softmax", "x is " + describe(x) + "; it must have at least one axis");
  if (causal && (x.rank() < 2 || x.dim(-1) != x.dim(-2)))
    throw ShapeError("softmax", "x is " + describe(x) + "; causal: its last two axes must be equal");
  const Tensor y = Tensor::empty_like(x);
  visit_float("softmax", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::softmax<T>(stream, rows_of<T>(x), scale, causal, rows_of<T, T>(y));
  });
  return y;
}

Var softmax(const Var& x, double scale, bool causal) {
  const Tensor p = softmax(x.data(), scale, causal);
  return record("softmax", p, {x}, [p, scale, causal](const Tensor& dp, Grads& grads) {
    grads.add(0, [&] { return gradient(p, dp, scale, causal); });
  });
}

}  // namespace lacuna
