// A model small enough to break its checkpoint at every byte: a sparse and a dense weight, a bias, a running mean.
#pragma once

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "train/checkpoint.h"

namespace lacuna {

struct SmallModel {
  explicit SmallModel(double fill = 0) {
    add("weight", Tensor::full({3, 4}, fill, DType::f32));
    add("dense", Tensor::full({2, 3}, fill, DType::f32));
    add("bias", Tensor::full({3}, fill, DType::f32));
    running_mean = Tensor::full({3}, fill, DType::f32);
  }

  /// With a pattern of five entries, two slots and numbers that are all different.
  static SmallModel trained() {
    SmallModel model;
    const TopologyPtr topology = Topology::from_csr(3, 4, Tensor::from<std::int32_t>({0, 2, 2, 5}, {4}),
                                                    Tensor::from<std::int32_t>({1, 3, 0, 1, 2}, {5}));
    model.parameters[0]->assign(counting({5}, 0.5f), topology);
    model.parameters[1]->assign(counting({2, 3}, -7.25f), nullptr);
    model.parameters[2]->assign(counting({3}, 100.0f), nullptr);
    for (Parameter* parameter : model.parameters) {
      parameter->slots()["adam_m"] = counting(parameter->value().shape(), 1e-3f);
      parameter->slots()["adam_v"] = counting(parameter->value().shape(), 3e8f);
    }
    model.running_mean = counting({3}, -1e-30f);
    return model;
  }

  static Tensor counting(const Shape& shape, float scale) {
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape.numel(); ++i) values.push_back(scale * (static_cast<float>(i) + 1.1f));
    return Tensor::from(values, shape);
  }

  std::vector<NamedBuffer> buffers() { return {{"norm.running_mean", &running_mean}}; }

  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<Parameter*> parameters;
  Tensor running_mean;

 private:
  void add(const char* name, Tensor value) {
    owned.push_back(std::make_unique<Parameter>(name, std::move(value)));
    parameters.push_back(owned.back().get());
  }
};

inline TrainingState example_state(std::int64_t step = 1000) {
  TrainingState state;
  state.step = step;
  state.seed = 0xFEDCBA9876543210u;
  state.extra = {{"config", "name: \"x\"\n"}, {"best", 0.1}, {"pruner", {{"last_step", 900}}}};
  return state;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() && std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0;
}

inline bool same_bits(const Parameter& a, const Parameter& b) {
  if (!same_bits(a.value(), b.value()) || a.is_sparse() != b.is_sparse() || a.slots().size() != b.slots().size()) return false;
  if (a.is_sparse() && !a.topology()->same_pattern(*b.topology())) return false;
  for (const auto& [name, slot] : a.slots()) {
    if (b.slots().count(name) == 0 || !same_bits(slot, b.slots().at(name))) return false;
  }
  return true;
}

inline bool same_bits(const SmallModel& a, const SmallModel& b) {
  for (std::size_t i = 0; i < a.parameters.size(); ++i) {
    if (!same_bits(*a.parameters[i], *b.parameters[i])) return false;
  }
  return same_bits(a.running_mean, b.running_mean);
}

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

inline void spill(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::remove(path);  // truncating instead makes some file systems flush at each close
  std::ofstream(path, std::ios::binary) << bytes;
}

}  // namespace lacuna
