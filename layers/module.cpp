#include "layers/module.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"

namespace lacuna {

namespace {

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

template <class Entries>
void check_new(const char* what, const Entries& entries, const std::string& name) {
  if (name.empty() || name.find('.') != std::string::npos) {
    throw ValueError("module", fmt::format("{} name '{}'; must not be empty nor hold a dot", what, name));
  }
  for (const auto& entry : entries) {
    if (entry.first == name) throw ValueError("module", fmt::format("two {}s named '{}'", what, name));
  }
}

}  // namespace

void Module::collect(const std::string& prefix, std::vector<Parameter*>* parameters,
                     std::vector<NamedBuffer>* buffers) {
  if (parameters) {
    for (auto& [name, parameter] : parameters_) {
      parameter->set_name(join(prefix, name));
      parameters->push_back(parameter.get());
    }
  }
  if (buffers) {
    for (auto& [name, tensor] : buffers_) buffers->push_back({join(prefix, name), tensor.get()});
  }
  for (auto& [name, child] : children_) child->collect(join(prefix, name), parameters, buffers);
}

std::vector<Parameter*> Module::parameters() {
  std::vector<Parameter*> result;
  collect("", &result, nullptr);
  return result;
}

std::vector<NamedBuffer> Module::buffers() {
  std::vector<NamedBuffer> result;
  collect("", nullptr, &result);
  return result;
}

void Module::collect_topologies(std::vector<TopologyPtr>& all) const {
  for (const auto& [name, parameter] : parameters_)
    if (parameter->is_sparse()) all.push_back(parameter->topology());
  add_topologies(all);
  for (const auto& [name, child] : children_) child->collect_topologies(all);
}

std::vector<TopologyPtr> Module::topologies() {
  std::vector<TopologyPtr> all, distinct;
  collect_topologies(all);
  for (const TopologyPtr& t : all)
    if (std::find(distinct.begin(), distinct.end(), t) == distinct.end()) distinct.push_back(t);
  return distinct;
}

void Module::to(Device device) {
  for (auto& [name, parameter] : parameters_) parameter->to(device);
  for (auto& [name, tensor] : buffers_) *tensor = tensor->to(device);
  for (auto& [name, child] : children_) child->to(device);
  on_move(device);
}

void Module::prepare_for_inference() {
  if (std::exchange(for_inference_, true)) return;
  for (auto& [name, child] : children_) child->prepare_for_inference();
  on_prepare_for_inference();
}

void Module::set_parameter(Parameter*& parameter, const char* name, Tensor value) {
  if (parameter)
    parameter->assign(std::move(value), nullptr);
  else
    parameter = &add_parameter(name, std::move(value));
}

void Module::drop_state() {
  parameters_.clear();
  buffers_.clear();
}

Parameter& Module::add_parameter(std::string name, Tensor value, bool prunable, bool decay) {
  check_new("parameter", parameters_, name);
  auto parameter = std::make_unique<Parameter>(name, std::move(value));
  parameter->prunable = prunable;
  parameter->decay = decay;
  Parameter& reference = *parameter;
  parameters_.emplace_back(std::move(name), std::move(parameter));
  return reference;
}

Tensor& Module::add_buffer(std::string name, Tensor value) {
  check_new("buffer", buffers_, name);
  auto tensor = std::make_unique<Tensor>(std::move(value));
  Tensor& reference = *tensor;
  buffers_.emplace_back(std::move(name), std::move(tensor));
  return reference;
}

}  // namespace lacuna
