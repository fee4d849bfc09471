#include "core/ops/reduce.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/reduce/reduce.h"

namespace lacuna {
namespace {

Tensor scaled_sum(const char* op, const Tensor& x, double factor) {
  const OpScope scope(op);
  const Tensor out = Tensor::empty({}, x.dtype(), x.device());
  const Tensor scratch =
      scratch_for(op, x, [&](auto stream, auto) { return kernels::sum_scratch_bytes(stream, x.numel()); });
  visit_float(op, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sum<T>(stream, x.data<T>(), x.numel(), factor, out.data<T>(), scratch.raw());
  });
  return out;
}

/// [m, n] (or `shape`, of m * n elements) holding factor * row_values[i] in row i.
Tensor broadcast_rows(const Tensor& row_values, double factor, const Shape& shape, std::int64_t m, std::int64_t n) {
  const Tensor out = Tensor::empty(shape, row_values.dtype(), row_values.device());
  visit_float("broadcast_rows", row_values, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::broadcast_rows<T>(stream, row_values.data<T>(), factor, out.data<T>(), m, n);
  });
  return out;
}

double mean_factor(const Tensor& x) {
  require_defined("mean", "x", x);
  if (x.numel() == 0) throw ShapeError("mean", "x is " + describe(x) + "; it must hold at least one element");
  return 1.0 / static_cast<double>(x.numel());
}

}  // namespace

Tensor sum(const Tensor& x) {
  require_defined("sum", "x", x);
  return scaled_sum("sum", x, 1);
}

Var sum(const Var& x) {
  return record("sum", sum(x.data()), {x}, [shape = x.shape()](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return broadcast_rows(dc, 1, shape, 1, shape.numel()); });
  });
}

Tensor mean(const Tensor& x) { return scaled_sum("mean", x, mean_factor(x)); }

Var mean(const Var& x) {
  return record("mean", mean(x.data()), {x}, [shape = x.shape()](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return broadcast_rows(dc, 1.0 / static_cast<double>(shape.numel()), shape, 1, shape.numel()); });
  });
}

Tensor sum_columns(const Tensor& x) {
  const OpScope scope("sum_columns");
  require_rank("sum_columns", "x", x, 2);
  const Tensor out = Tensor::empty({x.dim(0)}, x.dtype(), x.device());
  const Tensor scratch = scratch_for("sum_columns", x, [&](auto stream, auto) {
    return kernels::sum_columns_scratch_bytes(stream, x.dim(0), x.dim(1));
  });
  visit_float("sum_columns", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sum_columns<T>(stream, Dense<const T>{x.data<T>(), x.dim(0), x.dim(1), x.dim(1)}, out.data<T>(),
                            scratch.raw());
  });
  return out;
}

Var sum_columns(const Var& x) {
  return record("sum_columns", sum_columns(x.data()), {x}, [shape = x.shape()](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return broadcast_rows(dc, 1, shape, shape[0], shape[1]); });
  });
}

Tensor sum_of_squares(const std::vector<Tensor>& tensors) {
  const char* op = "sum_of_squares";
  const OpScope scope(op);
  if (tensors.empty()) throw ValueError(op, "no tensors; at least one is needed");
  for (const Tensor& t : tensors) require_same_device_and_dtype(op, "the first tensor", tensors.front(), "another", t);
  const Tensor out = Tensor::empty({}, tensors.front().dtype(), tensors.front().device());
  const auto spans_of = [&]<class T>(T) {
    std::vector<kernels::Span<T>> spans;
    for (const Tensor& t : tensors) spans.push_back({t.data<T>(), t.numel()});
    return spans;
  };
  const auto count = static_cast<std::int64_t>(tensors.size());
  const Tensor scratch = scratch_for(op, out, [&](auto stream, auto zero) {
    return kernels::sum_of_squares_scratch_bytes<decltype(zero)>(stream, spans_of(zero).data(), count);
  });
  visit_float(op, out, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sum_of_squares<T>(stream, spans_of(zero).data(), count, out.data<T>(), scratch.raw());
  });
  return out;
}

}  // namespace lacuna
