#include "train/checkpoint.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "core/errors.h"
#include "train/safetensors.h"

namespace lacuna {
namespace {

using Json = nlohmann::json;

constexpr const char* kVersionKey = "lacuna_checkpoint";
constexpr const char* kVersion = "1";

CheckpointError fault(const std::filesystem::path& path, const std::string& what) {
  return CheckpointError("checkpoint", fmt::format("'{}': {}", path.string(), what));
}

template <class T>
bool any_of(const Tensor& tensor, bool (*predicate)(T)) {
  const T* p = static_cast<const T*>(tensor.raw());
  for (std::int64_t i = 0, n = tensor.numel(); i < n; ++i) {
    if (predicate(p[i])) return true;
  }
  return false;
}

bool holds_non_finite(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f32: return any_of<float>(tensor, [](float x) { return !std::isfinite(x); });
    case DType::f64: return any_of<double>(tensor, [](double x) { return !std::isfinite(x); });
    case DType::bf16: return any_of<std::uint16_t>(tensor, [](std::uint16_t x) { return (x & 0x7F80) == 0x7F80; });
    default: return false;
  }
}

bool holds_nan(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::f32: return any_of<float>(tensor, [](float x) { return std::isnan(x); });
    case DType::f64: return any_of<double>(tensor, [](double x) { return std::isnan(x); });
    case DType::bf16: return any_of<std::uint16_t>(tensor, [](std::uint16_t x) { return (x & 0x7FFF) > 0x7F80; });
    default: return false;
  }
}

// ---- saving
// ----------------------------------------------------------------------------------------------------------

Json shape_to_json(const Shape& shape) {
  Json json = Json::array();
  for (std::int64_t extent : shape) json.push_back(extent);
  return json;
}

/// Collects tensors on the host under names that must be unique.
class Contents {
 public:
  explicit Contents(const std::filesystem::path& path) : path_(path) {}

  void add(const std::string& name, const Tensor& tensor, bool must_be_finite) {
    Tensor host = tensor.to(kCpu);
    if (must_be_finite && holds_non_finite(host)) {
      throw NotFiniteError("checkpoint", fmt::format("'{}': not saved: tensor '{}' holds values that are not finite; "
                                                     "earlier checkpoints are untouched and valid", path_.string(), name));
    }
    if (!file.tensors.emplace(name, std::move(host)).second) {
      throw fault(path_, fmt::format("not saved: two tensors are named '{}'", name));
    }
  }

  Json add(const Parameter& parameter) {
    const std::string& name = parameter.name();
    if (const TopologyPtr& topology = parameter.topology()) {
      add(name + ".crow_indices", topology->row_offsets(), false);
      add(name + ".col_indices", topology->col_indices(), false);
      add(name + ".values", parameter.value(), true);
    } else {
      add(name, parameter.value(), true);
    }
    Json slots = Json::array();
    for (const auto& [slot, tensor] : parameter.slots()) {
      add(name + ".slot." + slot, tensor, false);
      slots.push_back(slot);
    }
    return {{"name", name},
            {"shape", shape_to_json(parameter.shape())},
            {"layout", parameter.is_sparse() ? "csr" : "dense"},
            {"slots", std::move(slots)}};
  }

  SafetensorsFile file;

 private:
  const std::filesystem::path& path_;
};

// ---- loading
// ---------------------------------------------------------------------------------------------------------

/// One parameter as the file has it, on the host.
struct StoredParameter {
  Shape shape;
  Tensor value;
  TopologyPtr topology;  // null when dense
  std::map<std::string, Tensor> slots;
};

struct StoredCheckpoint {
  std::map<std::string, StoredParameter> parameters;
  std::map<std::string, Tensor> buffers;
  TrainingState state;
};

/// Takes a file's tensors apart by its metadata; what nobody asks for is left over, which is an error too.
class Decoder {
 public:
  explicit Decoder(const std::filesystem::path& path)
      : path_(path), file_(read_safetensors(path, Checksum::required)) {}

  StoredCheckpoint decode() {
    if (metadata(kVersionKey) != kVersion) {
      throw fault(path_,
                  fmt::format("format version '{}' is not the '{}' this build reads", metadata(kVersionKey), kVersion));
    }
    StoredCheckpoint stored;
    try {
      for (const Json& entry : Json::parse(metadata("parameters"))) {
        const std::string name = entry.at("name").get<std::string>();
        if (!stored.parameters.emplace(name, parameter(name, entry)).second) {
          throw fault(path_, fmt::format("parameter '{}' is listed twice", name));
        }
      }
      for (const Json& entry : Json::parse(metadata("buffers"))) {
        const std::string name = entry.get<std::string>();
        stored.buffers.emplace(name, take(name, true));
      }
      if (file_.metadata.count("state_tensors") > 0) {
        for (const Json& entry : Json::parse(metadata("state_tensors"))) {
          const std::string name = entry.get<std::string>();
          stored.state.tensors.emplace(name, take("state." + name, true));
        }
      }
      const Json state = Json::parse(metadata("training_state"));
      stored.state.step = state.at("step").get<std::int64_t>();
      stored.state.seed = state.at("seed").get<std::uint64_t>();
      stored.state.extra = state.at("extra");
    } catch (const Json::exception& error) {
      throw fault(path_, fmt::format("the metadata is malformed: {}", error.what()));
    }
    if (!stored.state.extra.is_object()) throw fault(path_, "the training state's 'extra' is not a JSON object");
    if (stored.state.step < 0) throw fault(path_, fmt::format("step {} is negative", stored.state.step));
    if (!file_.tensors.empty()) {
      throw fault(path_, fmt::format("tensor '{}' belongs to no parameter, buffer or state", file_.tensors.begin()->first));
    }
    return stored;
  }

 private:
  const std::string& metadata(const std::string& key) const {
    const auto it = file_.metadata.find(key);
    if (it == file_.metadata.end())
      throw fault(path_, fmt::format("metadata '{}' is missing; this is no Lacuna checkpoint", key));
    return it->second;
  }

  Tensor take(const std::string& name, bool must_be_finite) {
    auto node = file_.tensors.extract(name);
    if (!node) throw fault(path_, fmt::format("tensor '{}' is missing", name));
    if (must_be_finite && holds_non_finite(node.mapped())) {
      throw fault(path_, fmt::format("tensor '{}' holds values that are not finite", name));
    }
    return std::move(node.mapped());
  }

  Shape shape_of(const std::string& name, const Json& json) const {
    Shape shape;
    try {
      for (const Json& extent : json) shape.push_back(extent.get<std::int64_t>());
    } catch (const Error& error) {
      throw fault(path_, fmt::format("parameter '{}': {}", name, error.what()));
    }
    return shape;
  }

  StoredParameter parameter(const std::string& name, const Json& entry) {
    StoredParameter stored;
    stored.shape = shape_of(name, entry.at("shape"));
    const std::string layout = entry.at("layout").get<std::string>();
    if (layout == "csr") {
      stored.topology = topology(name, stored.shape);
      stored.value = take(name + ".values", true);
    } else if (layout == "dense") {
      stored.value = take(name, true);
    } else {
      throw fault(path_, fmt::format("parameter '{}': layout '{}' is neither 'dense' nor 'csr'", name, layout));
    }
    const Shape expected = stored.topology ? Shape{stored.topology->nnz()} : stored.shape;
    if (stored.value.shape() != expected) {
      throw fault(path_, fmt::format("parameter '{}': values are {}; they must be {}", name,
                                     to_string(stored.value.shape()), to_string(expected)));
    }
    for (const Json& slot : entry.at("slots")) {
      const std::string tensor_name = name + ".slot." + slot.get<std::string>();
      Tensor tensor = take(tensor_name, false);
      if (holds_nan(tensor)) throw fault(path_, fmt::format("tensor '{}' holds NaN", tensor_name));
      const Shape wanted = Parameter::slot_shape(slot.get<std::string>(), stored.shape, expected);
      if (tensor.shape() != wanted || tensor.dtype() != stored.value.dtype()) {
        throw fault(path_, fmt::format("tensor '{}' is {}{}; it must be {}{}{}", tensor_name,
                                       to_string(tensor.dtype()), to_string(tensor.shape()),
                                       to_string(stored.value.dtype()), to_string(wanted),
                                       wanted == expected ? " as its parameter's values" : ""));
      }
      stored.slots.emplace(slot.get<std::string>(), std::move(tensor));
    }
    return stored;
  }

  TopologyPtr topology(const std::string& name, const Shape& shape) {
    Tensor row_offsets = take(name + ".crow_indices", false);
    Tensor col_indices = take(name + ".col_indices", false);
    if (shape.rank() != 2)
      throw fault(path_, fmt::format("parameter '{}': shape {} is sparse, but not a matrix", name, to_string(shape)));
    try {
      return Topology::from_csr(shape[0], shape[1], std::move(row_offsets), std::move(col_indices));
    } catch (const Error& error) {
      throw fault(path_, fmt::format("parameter '{}': the pattern is not valid CSR: {}", name, error.what()));
    }
  }

  const std::filesystem::path& path_;
  SafetensorsFile file_;
};

void check_against_model(const std::filesystem::path& path, const StoredCheckpoint& stored,
                         const std::vector<Parameter*>& parameters, const std::vector<NamedBuffer>& buffers) {
  std::set<std::string> known;
  for (const Parameter* parameter : parameters) {
    const auto it = stored.parameters.find(parameter->name());
    if (it == stored.parameters.end())
      throw fault(path, fmt::format("the model's parameter '{}' is missing", parameter->name()));
    if (it->second.shape != parameter->shape() || it->second.value.dtype() != parameter->value().dtype()) {
      throw fault(path, fmt::format("parameter '{}' is {}{}; the model's is {}{}", parameter->name(),
                                    to_string(it->second.value.dtype()), to_string(it->second.shape),
                                    to_string(parameter->value().dtype()), to_string(parameter->shape())));
    }
    known.insert(parameter->name());
  }
  for (const auto& [name, parameter] : stored.parameters) {
    if (known.count(name) == 0) throw fault(path, fmt::format("parameter '{}' is not in the model", name));
  }
  known.clear();
  for (const NamedBuffer& buffer : buffers) {
    const auto it = stored.buffers.find(buffer.name);
    if (it == stored.buffers.end()) throw fault(path, fmt::format("the model's buffer '{}' is missing", buffer.name));
    if (it->second.shape() != buffer.tensor->shape() || it->second.dtype() != buffer.tensor->dtype()) {
      throw fault(path, fmt::format("buffer '{}' is {}; the model's is {}", buffer.name, describe(it->second),
                                    describe(*buffer.tensor)));
    }
    known.insert(buffer.name);
  }
  for (const auto& [name, tensor] : stored.buffers) {
    if (known.count(name) == 0) throw fault(path, fmt::format("buffer '{}' is not in the model", name));
  }
}

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const std::vector<Parameter*>& parameters,
                     const std::vector<NamedBuffer>& buffers, const TrainingState& state, const FileCalls& calls) {
  const OpScope scope("save_checkpoint");
  try {
    Contents contents(path);
    Json parameter_list = Json::array();
    for (const Parameter* parameter : parameters) parameter_list.push_back(contents.add(*parameter));
    Json buffer_list = Json::array();
    for (const NamedBuffer& buffer : buffers) {
      contents.add(buffer.name, *buffer.tensor, true);
      buffer_list.push_back(buffer.name);
    }
    const Json training_state{{"step", state.step}, {"seed", state.seed}, {"extra", state.extra}};
    contents.file.metadata = {{kVersionKey, kVersion},
                              {"parameters", parameter_list.dump()},
                              {"buffers", buffer_list.dump()},
                              {"training_state", training_state.dump()}};
    if (!state.tensors.empty()) {
      Json names = Json::array();
      for (const auto& [name, tensor] : state.tensors) {
        contents.add("state." + name, tensor, true);
        names.push_back(name);
      }
      contents.file.metadata.emplace("state_tensors", names.dump());
    }
    write_safetensors(path, contents.file, calls);
  } catch (const NotFiniteError&) {
    throw;
  } catch (const CheckpointError& error) {
    throw CheckpointError(fmt::format("{}; earlier checkpoints are untouched and valid", error.what()));
  } catch (const Json::exception& error) {  // text in the state that is not UTF-8
    throw fault(path, fmt::format("not saved: {}; earlier checkpoints are untouched and valid", error.what()));
  }
}

TrainingState load_checkpoint(const std::filesystem::path& path, const std::vector<Parameter*>& parameters,
                              const std::vector<NamedBuffer>& buffers, LoadSlots slots) {
  const OpScope scope("load_checkpoint");
  StoredCheckpoint stored = Decoder(path).decode();
  check_against_model(path, stored, parameters, buffers);
  for (Parameter* parameter : parameters) {
    StoredParameter& source = stored.parameters.at(parameter->name());
    const Device device = parameter->value().device();
    parameter->assign(source.value.to(device), source.topology ? source.topology->to(device) : nullptr);
    if (slots == LoadSlots::no) continue;
    for (auto& [slot, tensor] : source.slots) parameter->slots()[slot] = tensor.to(device);
  }
  for (const NamedBuffer& buffer : buffers) buffer.tensor->copy_from(stored.buffers.at(buffer.name));
  return std::move(stored.state);
}

std::map<std::string, TopologyPtr> load_patterns(const std::filesystem::path& path) {
  const OpScope scope("load_patterns");
  std::map<std::string, TopologyPtr> patterns;
  for (const auto& [name, parameter] : Decoder(path).decode().parameters)
    if (parameter.topology) patterns.emplace(name, parameter.topology);
  return patterns;
}

TrainingState verify_checkpoint(const std::filesystem::path& path) {
  const OpScope scope("verify_checkpoint");
  return Decoder(path).decode().state;
}

}  // namespace lacuna
