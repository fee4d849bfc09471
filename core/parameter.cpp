#include "core/parameter.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/topology_ops.h"

namespace lacuna {
namespace {

bool by_rows(const std::string& slot) { return slot.ends_with("_rows"); }
bool by_cols(const std::string& slot) { return slot.ends_with("_cols"); }

}  // namespace

Parameter::Parameter(std::string name, Tensor value)
    : name_(std::move(name)), shape_(value.shape()), var_(std::move(value), true) {}

Tensor Parameter::dense_value() const { return topology_ ? densify(SparseTensor{value(), topology_}) : value(); }

double Parameter::sparsity() const { return topology_ ? topology_->sparsity() : 0.0; }

std::size_t Parameter::state_bytes() const {
  std::size_t bytes = value().nbytes() + (grad().defined() ? grad().nbytes() : 0);
  for (const auto& [slot, tensor] : slots_) bytes += tensor.nbytes();
  return bytes;
}

Shape Parameter::slot_shape(const std::string& slot, const Shape& shape, const Shape& value) {
  if (shape.rank() == 2 && by_rows(slot)) return {shape[0]};
  if (shape.rank() == 2 && by_cols(slot)) return {shape[1]};
  return value;
}

void Parameter::retopologize(TopologyPtr next) {
  if (next == topology_) return;
  if (shape_.rank() != 2)
    throw ShapeError("retopologize",
                     fmt::format("'{}' is {}; only a matrix [m, k] takes a topology", name_, to_string(shape_)));
  if (next && (next->rows() != shape_[0] || next->cols() != shape_[1]))
    throw ShapeError("retopologize", fmt::format("'{}' is {}, the topology [{}, {}]; shapes must agree", name_,
                                                 to_string(shape_), next->rows(), next->cols()));
  if (next && !(next->device() == value().device()))
    throw DeviceError("retopologize", fmt::format("'{}' is on {}, the topology on {}; must be the same", name_,
                                                  to_string(value().device()), to_string(next->device())));
  std::function<Tensor(const Tensor&)> move;
  if (next) {
    const Tensor map = remap(topology_, next);
    move = [map](const Tensor& t) { return gather_or_zero(t.reshape({t.numel()}), map); };
  } else {
    move = [this](const Tensor& t) { return densify(SparseTensor{t, topology_}); };
  }
  const auto per_entry = [&](const std::string& slot) { return !by_rows(slot) && !by_cols(slot); };
  var_ = Var(move(value()), true);
  for (auto& [slot, tensor] : slots_)
    if (per_entry(slot)) tensor = move(tensor);
  topology_ = std::move(next);
}

void Parameter::assign(Tensor value, TopologyPtr topology) {
  const bool fits = topology ? shape_.rank() == 2 && topology->rows() == shape_[0] && topology->cols() == shape_[1] &&
                                   value.shape() == Shape{topology->nnz()}
                             : value.shape() == shape_;
  if (!fits)
    throw ShapeError("assign",
                     fmt::format("{} and {} for '{}' {}; must be its shape, or [nnz] with a topology of its shape",
                                 describe(value), topology ? "a topology" : "no topology", name_, to_string(shape_)));
  var_ = Var(std::move(value), true);
  topology_ = std::move(topology);
  slots_.clear();
}

void Parameter::to(Device device) {
  var_ = Var(value().to(device), true);
  for (auto& [slot, tensor] : slots_) tensor = tensor.to(device);
  if (topology_) topology_ = topology_->to(device);
}

}  // namespace lacuna
