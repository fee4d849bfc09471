// Reading: from a file's names to tensors and patterns.
#include "train/interop/state.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/errors.h"
#include "train/config/suggest.h"

namespace lacuna::interop {

namespace {

using Json = nlohmann::json;

constexpr const char* kShapesKey = "lacuna_shapes";
constexpr const char* kCsrParts[] = {".crow_indices", ".col_indices", ".values"};
constexpr const char* kSlotMark = ".slot.";  // as train/checkpoint.h names optimizer state

std::string without_suffix(const std::string& name, std::string_view suffix) {
  return name.substr(0, name.size() - suffix.size());
}

class StateReader {
 public:
  StateReader(const std::filesystem::path& path, Averages averages)
      : path_(path),
        averages_(averages),
        file_(read_safetensors(path, Checksum::if_present, ForeignDtypes::converted)) {
    state_.source = path.string();
  }

  State read(NameMap* map) {
    std::erase_if(file_.tensors, [&](const auto& entry) {
      const bool out = map != nullptr && map->leaves_out(entry.first);
      if (out) state_.notes.push_back(fmt::format("'{}' left out", entry.first));
      return out;
    });
    read_shapes();
    take_slots();
    while (!file_.tensors.empty()) {
      const std::string name = file_.tensors.begin()->first;
      if (name.ends_with(".num_batches_tracked")) {  // PyTorch's batch norms count; Lacuna's need no count
        file_.tensors.erase(name);
        ++untracked_;
      } else if (const std::string base = csr_base(name); !base.empty()) {
        keep(base, csr(base));
      } else if (const std::string pruned = prune_base(name); !pruned.empty()) {
        keep(pruned, masked_pair(pruned));
      } else {
        const Tensor value = floats(name);
        keep(name, {value.shape(), value, nullptr});
      }
    }
    for (const auto& [dtype, count] : conversions_)
      state_.notes.push_back(fmt::format("{} tensors converted from {} to f32", count, dtype));
    if (untracked_ > 0) state_.notes.push_back(fmt::format("{} num_batches_tracked left out", untracked_));
    if (state_.tensors.empty()) throw fault("holds no weights");
    return std::move(state_);
  }

 private:
  CheckpointError fault(const std::string& what) const {
    return CheckpointError("load_state", fmt::format("'{}': {}", path_.string(), what));
  }
  void keep(const std::string& name, StateTensor tensor) {
    if (!state_.tensors.emplace(name, std::move(tensor)).second)
      throw fault(fmt::format("'{}' is stored twice, in two formats; must be stored once", name));
  }

  void read_shapes() {
    try {
      if (const auto it = file_.metadata.find(kShapesKey); it != file_.metadata.end()) {
        const Json shapes = Json::parse(it->second);  // outlives its items()
        for (const auto& [name, extents] : shapes.items()) add_shape(name, extents);
      }
      if (const auto it = file_.metadata.find("lacuna_checkpoint"); it != file_.metadata.end()) {
        for (const Json& entry : Json::parse(file_.metadata["parameters"]))
          add_shape(entry.at("name").get<std::string>(), entry.at("shape"));
      }
    } catch (const Json::exception& error) {
      throw fault(fmt::format("the metadata is malformed: {}", error.what()));
    } catch (const ValueError& error) {
      throw fault(fmt::format("the metadata is malformed: {}", error.what()));
    }
  }
  void add_shape(const std::string& name, const Json& extents) {
    Shape shape;
    if (extents.size() > static_cast<std::size_t>(Shape::kMaxRank))
      throw fault(fmt::format("the metadata is malformed: '{}' has {} axes", name, extents.size()));
    for (const Json& extent : extents) shape.push_back(extent.get<std::int64_t>());
    shapes_[name] = shape;
  }

  /// A Lacuna checkpoint keeps optimizer state beside the weights.
  void take_slots() {
    if (file_.metadata.count("lacuna_checkpoint") == 0) return;
    std::int64_t averaged = 0;
    for (auto it = file_.tensors.begin(); it != file_.tensors.end();) {
      const std::size_t mark = it->first.rfind(kSlotMark);
      if (mark == std::string::npos) {
        ++it;
        continue;
      }
      const std::string owner = it->first.substr(0, mark);
      if (averages_ == Averages::taken && it->first == owner + kSlotMark + "ema") {
        auto values = file_.tensors.find(owner + ".values");
        if (values == file_.tensors.end()) values = file_.tensors.find(owner);
        if (values == file_.tensors.end() || values->second.shape() != it->second.shape())
          throw fault(fmt::format("tensor '{}' does not fit its parameter's values", it->first));
        values->second = it->second;
        ++averaged;
      }
      it = file_.tensors.erase(it);
    }
    if (averaged > 0)
      state_.notes.push_back(fmt::format("the moving averages of {} weights taken, as evaluation does", averaged));
  }

  /// X when `name` is a part of X in CSR; X.values alone may be any tensor's name.
  std::string csr_base(const std::string& name) const {
    for (const std::string part : kCsrParts) {
      if (!name.ends_with(part) || name.size() == part.size()) continue;
      std::string base = without_suffix(name, part);
      if (part != ".values" || file_.tensors.count(base + ".crow_indices") != 0) return base;
    }
    return "";
  }
  std::string prune_base(const std::string& name) const {
    for (const std::string part : {"_orig", "_mask"}) {
      if (name.ends_with(part) && name.size() > part.size()) return without_suffix(name, part);
    }
    return "";
  }

  Tensor take(const std::string& name, const std::string& beside) {
    auto node = file_.tensors.extract(name);
    if (!node)
      throw fault(
          fmt::format("tensor '{}' is missing; it must stand beside '{}' (if that is none of the weights, leave "
                      "it out with --map '{}=')",
                      name, beside, beside));
    return std::move(node.mapped());
  }

  /// Takes a floating-point tensor as f32.
  Tensor floats(const std::string& name) {
    const auto converted = file_.converted.find(name);
    Tensor tensor = take(name, name);
    const bool was_bool = converted != file_.converted.end() && converted->second == "BOOL";
    std::string dtype = to_string(tensor.dtype());
    if (converted != file_.converted.end()) dtype = was_bool ? "bool" : "f16";
    if (tensor.dtype() == DType::bf16) {
      Tensor wide = Tensor::empty(tensor.shape(), DType::f32);
      const auto* from = static_cast<const std::uint16_t*>(tensor.raw());
      std::transform(from, from + tensor.numel(), wide.data<float>(),
                     [](std::uint16_t upper) { return std::bit_cast<float>(static_cast<std::uint32_t>(upper) << 16); });
      tensor = wide;
    } else if (tensor.dtype() == DType::f64) {
      tensor = tensor.to(DType::f32);
    } else if (tensor.dtype() != DType::f32) {
      throw fault(
          fmt::format("tensor '{}' is {}; weights must be f32, f64, bf16 or f16 (if it is none, leave it out with "
                      "--map '{}=')",
                      name, dtype, name));
    }
    if (dtype != "f32") ++conversions_[dtype];
    const float* p = tensor.data<float>();
    const float* bad = std::find_if(p, p + tensor.numel(), [](float x) { return !std::isfinite(x); });
    if (bad != p + tensor.numel())
      throw fault(fmt::format("tensor '{}' holds {} at element {}{}; must be finite", name, *bad, bad - p,
                              dtype == "f64" ? " as f32" : ""));
    return tensor;
  }

  /// Takes 1-D indices as i32.
  Tensor indices(const std::string& name, const std::string& beside) {
    Tensor tensor = take(name, beside);
    if (tensor.rank() != 1)
      throw fault(fmt::format("tensor '{}' has shape {}; must have one axis", name, to_string(tensor.shape())));
    if (tensor.dtype() == DType::i32) return tensor;
    if (tensor.dtype() != DType::i64)
      throw fault(fmt::format("tensor '{}' is {}; indices must be i32 or i64", name, to_string(tensor.dtype())));
    Tensor narrow = Tensor::empty(tensor.shape(), DType::i32);
    const auto* from = tensor.data<std::int64_t>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i) {
      if (from[i] < 0 || from[i] > INT32_MAX)
        throw fault(
            fmt::format("tensor '{}' holds {} at element {}; must be from 0 to {}", name, from[i], i, INT32_MAX));
      narrow.data<std::int32_t>()[i] = static_cast<std::int32_t>(from[i]);
    }
    return narrow;
  }

  StateTensor csr(const std::string& base) {
    const std::string crow_name = base + kCsrParts[0], col_name = base + kCsrParts[1], value_name = base + kCsrParts[2];
    const bool has_crow = file_.tensors.count(crow_name) != 0;
    const Tensor crow = indices(crow_name, col_name);
    const Tensor col = indices(col_name, has_crow ? crow_name : value_name);
    if (file_.tensors.count(value_name) == 0) take(value_name, crow_name);
    const Tensor values = floats(value_name);
    if (crow.numel() == 0) throw fault(fmt::format("tensor '{}' is empty; must hold rows + 1 offsets", crow_name));
    if (values.shape() != col.shape())
      throw fault(fmt::format("'{}' is {}, '{}' is {}; they must have one entry per nonzero", value_name,
                              to_string(values.shape()), col_name, to_string(col.shape())));
    StateTensor tensor;
    tensor.value = values;
    if (const auto it = shapes_.find(base); it != shapes_.end()) {
      tensor.shape = it->second;
    } else {
      const auto* p = col.data<std::int32_t>();
      const std::int64_t cols = col.numel() == 0 ? 0 : std::int64_t{*std::max_element(p, p + col.numel())} + 1;
      tensor.shape = {crow.numel() - 1, cols};
      tensor.guessed_cols = true;
    }
    const Shape matrix = matrix_shape(tensor.shape);
    try {
      tensor.topology = Topology::from_csr(matrix[0], matrix[1], crow, col);
    } catch (const Error& error) {
      throw fault(fmt::format("'{}': the pattern is not valid CSR: {}", base, error.what()));
    }
    return tensor;
  }

  StateTensor masked_pair(const std::string& base) {
    const std::string orig = base + "_orig", mask = base + "_mask";
    if (file_.tensors.count(mask) == 0) take(mask, orig);
    if (file_.tensors.count(orig) == 0) take(orig, mask);
    const bool mask_is_bytes = file_.tensors.at(mask).dtype() == DType::u8;
    const Tensor values = floats(orig);
    const Tensor keep = mask_is_bytes ? take(mask, orig) : floats(mask);
    try {
      return masked(values, keep);
    } catch (const Error& error) {
      throw fault(fmt::format("'{}' and '{}': {}", orig, mask, error.what()));
    }
  }

  const std::filesystem::path& path_;
  Averages averages_;
  SafetensorsFile file_;
  State state_;
  std::map<std::string, Shape> shapes_;
  std::map<std::string, std::int64_t> conversions_;
  std::int64_t untracked_ = 0;
};

}  // namespace

State load_state(const std::filesystem::path& path, Averages averages, NameMap* map) {
  const OpScope scope("load_state");
  return StateReader(path, averages).read(map);
}

SafetensorsFile encode_state(const State& state, StateFormat format) {
  SafetensorsFile file;
  Json shapes = Json::object();
  for (const auto& [name, tensor] : state.tensors) {
    if (!tensor.is_sparse()) {
      file.tensors[name] = tensor.value;
    } else if (format == StateFormat::torch_dense) {
      file.tensors[name] = dense_value(tensor);
    } else if (format == StateFormat::torch_prune) {
      file.tensors[name + "_orig"] = dense_value(tensor);
      file.tensors[name + "_mask"] = dense_mask(tensor);
    } else {
      file.tensors[name + kCsrParts[0]] = tensor.topology->row_offsets();
      file.tensors[name + kCsrParts[1]] = tensor.topology->col_indices();
      file.tensors[name + kCsrParts[2]] = tensor.value;
      shapes[name] = std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end());
    }
  }
  file.metadata["format"] = "pt";  // what PyTorch's own tools write and some ask for
  if (!shapes.empty()) file.metadata[kShapesKey] = shapes.dump();
  return file;
}

}  // namespace lacuna::interop
