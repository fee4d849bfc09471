#include "core/ops/adafactor.h"

#include "core/errors.h"
#include "core/visit.h"
#include "kernels/adafactor/adafactor.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "adafactor_update";

void check_count(const Tensor& value, const Tensor& other, const char* name, std::int64_t count) {
  if (other.numel() == count && other.dtype() == value.dtype() && other.device() == value.device()) return;
  throw ShapeError(kOp, std::string(name) + " is " + describe(other) + ", value " + describe(value) + "; must hold " +
                            std::to_string(count) + " numbers of its dtype on its device");
}

kernels::EntryPattern pattern_of(const Tensor& value, const TopologyPtr& topology, bool factored) {
  if (!factored) return {1, value.numel(), value.numel()};
  if (!topology) {
    if (value.rank() != 2) throw ShapeError(kOp, "value is " + describe(value) + "; only a matrix can be factored");
    return {value.dim(0), value.dim(1), value.numel()};
  }
  if (topology->nnz() != value.numel() || !(topology->device() == value.device()))
    throw ShapeError(kOp, "value is " + describe(value) + " over a topology of " + std::to_string(topology->nnz()) +
                              " entries on " + to_string(topology->device()) + "; count and device must agree");
  const TransposedTopology& columns = topology->transposed();
  return {topology->rows(),
          topology->cols(),
          topology->nnz(),
          topology->row_offsets().data<std::int32_t>(),
          topology->col_indices().data<std::int32_t>(),
          columns.topology->row_offsets().data<std::int32_t>(),
          columns.topology->col_indices().data<std::int32_t>(),
          columns.permutation.data<std::int32_t>()};
}

}  // namespace

void adafactor_update(const Tensor& value, const Tensor& grad, const TopologyPtr& topology, const AdafactorState& state,
                      const AdafactorStep& s, const UpdateGuard& guard) {
  const OpScope scope(kOp);
  const bool factored = !state.v.defined();
  const kernels::EntryPattern pattern = pattern_of(value, topology, factored);
  check_count(value, grad, "grad", value.numel());
  if (factored) {
    check_count(value, state.row_means, "row_means", pattern.rows);
    check_count(value, state.col_means, "col_means", pattern.cols);
  } else {
    check_count(value, state.v, "v", value.numel());
  }
  if (state.m.defined()) check_count(value, state.m, "m", value.numel());
  for (const Tensor* t : {&guard.scale, &guard.skip})
    if (t->defined() && (t->numel() != 1 || !(t->device() == value.device())))
      throw ShapeError(kOp, "guard is " + describe(*t) + "; must be a scalar on " + to_string(value.device()));
  const Tensor scratch = scratch_for(
      kOp, value, [&](auto stream, auto) { return kernels::adafactor_scratch_bytes(stream, pattern, factored); });
  visit_float(kOp, value, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const auto data = [](const Tensor& t) { return t.defined() ? t.data<T>() : nullptr; };
    kernels::adafactor_update<T>(
        stream, pattern,
        {data(value), grad.data<T>(), data(state.row_means), data(state.col_means), data(state.v), data(state.m)},
        {s.step_size, s.beta1, s.beta2, s.eps1, s.eps2, s.clip_threshold, s.weight_decay, s.scale_by_value},
        {guard.scale.defined() ? guard.scale.data<float>() : nullptr,
         guard.skip.defined() ? guard.skip.data<std::int32_t>() : nullptr},
        scratch.raw());
  });
}

}  // namespace lacuna
