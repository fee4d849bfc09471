// From a state to a model, and between the two sides' names.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "core/errors.h"
#include "train/config/suggest.h"
#include "train/interop/state.h"

namespace lacuna::interop {

namespace {

// Attention's three projections, in the order torch.nn.MultiheadAttention stacks them (its documentation, in_proj_weight).
constexpr std::array<const char*, 3> kProjections{"query", "key", "value"};
constexpr std::array<std::pair<const char*, const char*>, 2> kStacked{
    {{"in_proj_weight", "weight"}, {"in_proj_bias", "bias"}}};

CheckpointError fault(const State& state, const std::string& what) {
  return CheckpointError("interop", fmt::format("'{}': {}", state.source, what));
}

std::vector<std::string> names_of(const State& state) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state.tensors) names.push_back(name);
  return names;
}

void insert(State& state, const std::string& name, StateTensor tensor, const std::string& from) {
  if (!state.tensors.emplace(name, std::move(tensor)).second)
    throw fault(state, fmt::format("'{}' and another tensor would both be named '{}'; names must differ", from, name));
}

StateTensor turned(const State& state, const std::string& name, const StateTensor& tensor) {
  if (tensor.guessed_cols)
    throw fault(state, fmt::format("tensor '{}' cannot be turned: the file does not say how many columns it has; add "
                                   "metadata \"lacuna_shapes\": {{\"{}\": [rows, columns]}}",
                                   name, name));
  try {
    return transposed(tensor);
  } catch (const ShapeError& error) {
    throw fault(state, fmt::format("tensor '{}' cannot be turned: {}", name, error.what()));
  }
}

State renamed(State state, NameMap& map, MapSide side) {
  State result{state.source, {}, state.notes};
  for (auto& [name, tensor] : state.tensors) {
    const auto found = map.find(name, side);
    if (!found) {
      insert(result, side == MapSide::file ? name : torch_name(name), tensor, name);
    } else if (!found->name.empty()) {
      insert(result, found->name, found->transpose ? turned(state, name, tensor) : tensor, name);
    } else {
      result.notes.push_back(fmt::format("'{}' left out", name));
    }
  }
  map.require_used(names_of(state), side);
  return result;
}

/// Extents but those of 1.
std::vector<std::int64_t> squeezed(const Shape& shape) {
  std::vector<std::int64_t> extents;
  std::copy_if(shape.begin(), shape.end(), std::back_inserter(extents), [](std::int64_t e) { return e != 1; });
  return extents;
}

/// Whether row-major elements of `tensor` are those of a parameter of shape `to`: see assign_state().
bool same_layout(const StateTensor& tensor, const Shape& to) {
  const Shape& from = tensor.shape;
  if (tensor.is_sparse() && to.rank() == 2) return matrix_shape(from) == to;  // the pattern must be the parameter's
  if (squeezed(from) == squeezed(to)) return true;
  return to.rank() == 2 && from.rank() > 2 && matrix_shape(from) == to;
}

/// One model's worth of a state, taken out of it piece by piece.
class Assignment {
 public:
  Assignment(const State& state, const AssignOptions& options) : state_(state), options_(options) {}

  /// query, key and value out of one stacked tensor, where the model has them apart.
  void cut_projections(const std::vector<Parameter*>& parameters) {
    for (const Parameter* p : parameters) {
      for (const auto& [stacked, part] : kStacked) {
        const std::string tail = fmt::format("query.{}", part);
        if (!p->name().ends_with(tail)) continue;
        const std::string prefix = p->name().substr(0, p->name().size() - tail.size());
        const auto it = state_.tensors.find(prefix + stacked);
        if (it == state_.tensors.end()) continue;
        const StateTensor whole = it->second;
        const std::int64_t rows = p->shape()[0];
        if (whole.shape.rank() == 0 || whole.shape[0] != 3 * rows)
          throw fault(state_, fmt::format("tensor '{}' has shape {}; it must hold query, key and value of {} rows each",
                                          it->first, to_string(whole.shape), rows));
        state_.tensors.erase(it);
        for (std::size_t i = 0; i < kProjections.size(); ++i) {
          const auto begin = static_cast<std::int64_t>(i) * rows;
          StateTensor cut = row_slice(whole, begin, begin + rows);
          cut.guessed_cols = whole.guessed_cols;
          insert(state_, fmt::format("{}{}.{}", prefix, kProjections[i], part), std::move(cut), prefix + stacked);
        }
      }
    }
  }

  void take(Parameter& parameter) {
    StateTensor tensor = matching(parameter.name(), parameter.shape(), "parameter");
    const bool may_be_sparse = parameter.prunable && parameter.shape().rank() == 2;
    if (tensor.is_sparse() && !may_be_sparse) {
      notes_.push_back(fmt::format("'{}' stored dense: it is not one that may be pruned", parameter.name()));
      tensor = {tensor.shape, dense_value(tensor), nullptr};
    }
    if (!tensor.is_sparse()) tensor.value = tensor.value.reshape(parameter.shape());
    if (options_.zeros_are_absent && may_be_sparse && !tensor.is_sparse()) {
      StateTensor without = without_zeros({parameter.shape(), tensor.value, nullptr});
      if (without.topology->nnz() < tensor.value.numel()) tensor = std::move(without);
    }
    ready_.emplace_back(&parameter, std::move(tensor));
  }

  void take(const NamedBuffer& buffer) {
    const StateTensor tensor = matching(buffer.name, buffer.tensor->shape(), "buffer");
    buffers_.emplace_back(buffer.tensor, dense_value(tensor).reshape(buffer.tensor->shape()));
  }

  AssignSummary finish(const std::vector<std::string>& model_names) {
    if (!state_.tensors.empty()) {
      const auto& [name, tensor] = *state_.tensors.begin();
      throw fault(state_,
                  fmt::format("tensor '{}' {} belongs to nothing in the model{}; map it to a parameter with "
                              "--map '{}=NAME', or leave it out with --map '{}='",
                              name, to_string(tensor.shape), config::did_you_mean(name, model_names), name, name));
    }
    AssignSummary summary;
    for (auto& [parameter, tensor] : ready_) {
      const Device device = parameter->value().device();
      const DType dtype = parameter->value().dtype();
      const Tensor value = tensor.value.dtype() == dtype ? tensor.value : tensor.value.to(dtype);
      parameter->assign(value.to(device), tensor.topology ? tensor.topology->to(device) : nullptr);
      ++(tensor.is_sparse() ? summary.sparse : summary.dense);
    }
    for (auto& [buffer, value] : buffers_) buffer->copy_from(value.to(buffer->dtype()));
    summary.buffers = static_cast<std::int64_t>(buffers_.size());
    summary.notes = std::move(notes_);
    return summary;
  }

 private:
  StateTensor matching(const std::string& name, const Shape& shape, const char* what) {
    auto node = state_.tensors.extract(name);
    if (!node) node = state_.tensors.extract(torch_name(name));
    if (!node) {
      const std::string hint = config::did_you_mean(name, names_of(state_));
      throw fault(state_,
                  fmt::format("the model's {} '{}' {} is missing{}; if the file calls it otherwise, say so with "
                              "--map 'FILE_NAME={}'",
                              what, name, to_string(shape), hint, name));
    }
    StateTensor tensor = std::move(node.mapped());
    if (tensor.guessed_cols && shape.rank() == 2 && tensor.shape[0] == shape[0] && tensor.shape[1] <= shape[1]) {
      tensor.topology =
          Topology::from_csr(shape[0], shape[1], tensor.topology->row_offsets(), tensor.topology->col_indices());
      tensor.shape = shape;
    }
    if (!same_layout(tensor, shape)) wrong_shape(node.key(), tensor, name, shape);
    return tensor;
  }

  [[noreturn]] void wrong_shape(const std::string& file_name, const StateTensor& tensor, const std::string& name,
                                const Shape& shape) const {
    const bool transpose =
        tensor.shape.rank() == 2 && shape.rank() == 2 && tensor.shape[0] == shape[1] && tensor.shape[1] == shape[0];
    const std::string fix =
        transpose ? fmt::format("the file's looks transposed: say so with --map '{}={}^T'", file_name, name)
                  : "change the config's model so that it is the file's network, or map the names otherwise (--map)";
    throw fault(state_, fmt::format("tensor '{}' has shape {}, the model's '{}' has {}; {}", file_name,
                                    to_string(tensor.shape), name, to_string(shape), fix));
  }

  State state_;
  AssignOptions options_;
  std::vector<std::string> notes_;
  std::vector<std::pair<Parameter*, StateTensor>> ready_;
  std::vector<std::pair<Tensor*, Tensor>> buffers_;
};

}  // namespace

State renamed_to_lacuna(State state, NameMap& map) { return renamed(std::move(state), map, MapSide::file); }

State renamed_to_file(State state, NameMap& map) {
  for (const std::string& query : names_of(state)) {
    for (const auto& [stacked, part] : kStacked) {
      const std::string tail = fmt::format("query.{}", part);
      if (!query.ends_with(tail)) continue;
      const std::string prefix = query.substr(0, query.size() - tail.size());
      std::vector<StateTensor> parts;
      for (const char* projection : kProjections) {
        const auto it = state.tensors.find(fmt::format("{}{}.{}", prefix, projection, part));
        if (it != state.tensors.end()) parts.push_back(it->second);
      }
      if (parts.size() != kProjections.size() || !map.find(prefix + stacked, MapSide::lacuna)) continue;
      for (const char* projection : kProjections) state.tensors.erase(fmt::format("{}{}.{}", prefix, projection, part));
      insert(state, prefix + stacked, stack_rows(parts), query);
    }
  }
  return renamed(std::move(state), map, MapSide::lacuna);
}

AssignSummary assign_state(const State& state, const std::vector<Parameter*>& parameters,
                           const std::vector<NamedBuffer>& buffers, const AssignOptions& options) {
  const OpScope scope("assign_state");
  Assignment assignment(state, options);
  assignment.cut_projections(parameters);
  std::vector<std::string> model_names;
  for (Parameter* parameter : parameters) {
    assignment.take(*parameter);
    model_names.push_back(parameter->name());
  }
  for (const NamedBuffer& buffer : buffers) {
    assignment.take(buffer);
    model_names.push_back(buffer.name);
  }
  AssignSummary summary = assignment.finish(model_names);
  summary.notes.insert(summary.notes.begin(), state.notes.begin(), state.notes.end());
  return summary;
}

}  // namespace lacuna::interop
