#include "core/ops/reduce.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/reduce/reduce.h"

namespace lacuna {
namespace {

Tensor scratch_on(Device device, std::size_t bytes) {
  return Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
}

Tensor scaled_sum(const char* op, const Tensor& x, double factor) {
  const OpScope scope(op);
  const Tensor out = Tensor::empty({}, accumulator_of(x.dtype()), x.device());
  visit_activation(op, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Tensor scratch = scratch_on(x.device(), kernels::sum_scratch_bytes(stream, x.numel()));
    kernels::sum<T>(stream, x.data<T>(), x.numel(), factor, out.data<acc_t<T>>(), scratch.raw());
  });
  return out;
}

/// [m, n] (or `shape`, of m * n elements) of `dtype`, holding factor * row_values[i] in row i.
Tensor broadcast_rows(const Tensor& row_values, double factor, const Shape& shape, std::int64_t m, std::int64_t n,
                      DType dtype) {
  const Tensor out = Tensor::empty(shape, dtype, row_values.device());
  visit_activation("broadcast_rows", out, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::broadcast_rows<T>(stream, row_values.data<acc_t<T>>(), factor, out.data<T>(), m, n);
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
  return record("sum", sum(x.data()), {x},
                [shape = x.shape(), dtype = x.data().dtype()](const Tensor& dc, Grads& grads) {
                  grads.add(0, [&] { return broadcast_rows(dc, 1, shape, 1, shape.numel(), dtype); });
                });
}

Tensor mean(const Tensor& x) { return scaled_sum("mean", x, mean_factor(x)); }

Var mean(const Var& x) {
  return record("mean", mean(x.data()), {x},
                [shape = x.shape(), dtype = x.data().dtype()](const Tensor& dc, Grads& grads) {
                  grads.add(0, [&] {
                    return broadcast_rows(dc, 1.0 / static_cast<double>(shape.numel()), shape, 1, shape.numel(), dtype);
                  });
                });
}

Tensor sum_columns(const Tensor& x) {
  const OpScope scope("sum_columns");
  require_rank("sum_columns", "x", x, 2);
  const Tensor out = Tensor::empty({x.dim(0)}, accumulator_of(x.dtype()), x.device());
  visit_activation("sum_columns", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Tensor scratch =
        scratch_on(x.device(), kernels::sum_columns_scratch_bytes(stream, x.dim(0), x.dim(1)));
    kernels::sum_columns<T>(stream, Dense<const T>{x.data<T>(), x.dim(0), x.dim(1), x.dim(1)}, out.data<acc_t<T>>(),
                            scratch.raw());
  });
  return out;
}

Var sum_columns(const Var& x) {
  return record("sum_columns", sum_columns(x.data()), {x},
                [shape = x.shape(), dtype = x.data().dtype()](const Tensor& dc, Grads& grads) {
                  grads.add(0, [&] { return broadcast_rows(dc, 1, shape, shape[0], shape[1], dtype); });
                });
}

Tensor sum_of_squares(const std::vector<Tensor>& tensors) {
  const char* op = "sum_of_squares";
  const OpScope scope(op);
  if (tensors.empty()) throw ValueError(op, "no tensors; at least one is needed");
  for (const Tensor& t : tensors) require_same_device_and_dtype(op, "the first tensor", tensors.front(), "another", t);
  const Tensor out = Tensor::empty({}, tensors.front().dtype(), tensors.front().device());
  visit_float(op, out, [&](auto stream, auto zero) {
    using T = decltype(zero);
    std::vector<kernels::Span<T>> spans;
    for (const Tensor& t : tensors) spans.push_back({t.data<T>(), t.numel()});
    const auto count = static_cast<std::int64_t>(spans.size());
    const Tensor scratch =
        scratch_on(out.device(), kernels::sum_of_squares_scratch_bytes<T>(stream, spans.data(), count));
    kernels::sum_of_squares<T>(stream, spans.data(), count, out.data<T>(), scratch.raw());
  });
  return out;
}

}  // namespace lacuna
