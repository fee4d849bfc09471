#include "optim/adafactor.h"

#include <algorithm>
#include <cmath>

#include "core/ops/adafactor.h"

namespace lacuna {
namespace {

constexpr const char *kRows = "adafactor_rows", *kCols = "adafactor_cols", *kV = "adafactor_v", *kM = "adafactor_m";

Tensor slot(Parameter& parameter, const char* name) {
  Tensor& tensor = parameter.slots()[name];
  if (!tensor.defined())
    tensor = Tensor::zeros(parameter.slot_shape(name), parameter.value().dtype(), parameter.value().device());
  return tensor;
}

}  // namespace

bool Adafactor::factors(const Parameter& p) const {
  if (p.shape().rank() != 2) return false;
  return config_.factored == Factored::all || (config_.factored == Factored::dense && !p.is_sparse());
}

std::int64_t Adafactor::state_numel(const Parameter& p) const {
  const std::int64_t second = factors(p) ? p.shape()[0] + p.shape()[1] : p.nnz();
  return second + (config_.beta1 > 0 ? p.nnz() : 0);
}

int Adafactor::num_slots() const {
  return (config_.factored == Factored::none ? 1 : 0) + (config_.beta1 > 0 ? 1 : 0);
}

void Adafactor::update(Parameter& p, const UpdateInputs& in) const {
  if (!p.grad().defined()) return;
  const double t = static_cast<double>(in.step + 1);
  AdafactorState state;
  if (factors(p)) {
    p.slots().erase(kV);
    state.row_means = slot(p, kRows);
    state.col_means = slot(p, kCols);
  } else {
    p.slots().erase(kRows);
    p.slots().erase(kCols);
    state.v = slot(p, kV);
  }
  if (config_.beta1 > 0) state.m = slot(p, kM);
  const double schedule = in.lr / config_.lr;
  adafactor_update(
      p.value(), p.grad(), p.topology(), state,
      {.step_size = schedule * (config_.relative_step ? std::min(config_.lr, 1 / std::sqrt(t)) : config_.lr),
       .beta1 = config_.beta1,
       .beta2 = 1 - std::pow(t, -config_.decay_exponent),
       .eps1 = config_.eps1,
       .eps2 = config_.eps2,
       .clip_threshold = config_.clip_threshold,
       .weight_decay = p.decay ? config_.weight_decay : 0.0,
       .scale_by_value = config_.scale_by_value},
      in.guard);
}

}  // namespace lacuna
