// A small network as other frameworks would save it, in each spelling.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/interop/state.h"

namespace lacuna::interop {

using Tensors = std::map<std::string, Tensor>;

inline Tensor f32(const std::vector<float>& values, const Shape& shape) { return Tensor::from(values, shape); }
inline Tensor i64(const std::vector<std::int64_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}
inline Tensor i32(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

/// SmallModel's four tensors, dense: weight [3, 4] (with zeros), dense [2, 3], bias [3], norm.running_mean [3].
inline Tensors dense_tensors() {
  return {{"weight", f32({0, 1, 0, 2, 0, 0, 0, 0, 3, 4, 5, 0}, {3, 4})},
          {"dense", f32({1, 2, 3, 4, 5, 6}, {2, 3})},
          {"bias", f32({7, 8, 9}, {3})},
          {"norm.running_mean", f32({-1, -2, -3}, {3})}};
}

inline Tensors csr_tensors() {
  Tensors tensors = dense_tensors();
  tensors.erase("weight");
  tensors["weight.crow_indices"] = i64({0, 2, 2, 5});
  tensors["weight.col_indices"] = i64({1, 3, 0, 1, 2});
  tensors["weight.values"] = f32({1, 2, 3, 4, 5}, {5});
  return tensors;
}

inline Tensors pruned_tensors() {
  Tensors tensors = dense_tensors();
  tensors.erase("weight");
  tensors["weight_orig"] = f32({9, 1, 9, 2, 9, 9, 9, 9, 3, 4, 5, 9}, {3, 4});  // 9: masked, to be forgotten
  tensors["weight_mask"] = f32({0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0}, {3, 4});
  return tensors;
}

inline SmallModel prunable_model(double fill = 0) {
  SmallModel model(fill);
  model.parameters[0]->prunable = true;
  return model;
}

class InteropState : public ::testing::Test {
 protected:
  std::filesystem::path write(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {}) {
    write_safetensors(path_, {metadata, tensors});
    return path_;
  }

  SmallModel assigned(const Tensors& tensors, const AssignOptions& options = {}) {
    SmallModel model = prunable_model();
    summary_ = assign_state(load_state(write(tensors)), model.parameters, model.buffers(), options);
    return model;
  }

  void expect_example_weight(const SmallModel& model) {
    ASSERT_TRUE(model.parameters[0]->is_sparse());
    const Topology& t = *model.parameters[0]->topology();
    EXPECT_EQ(t.row_offsets().to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 2, 2, 5}));
    EXPECT_EQ(t.col_indices().to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, 3, 0, 1, 2}));
    EXPECT_EQ(model.parameters[0]->value().to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5}));
  }

  /// What a state that must be refused says; the model must be as it was.
  std::string refusal(const Tensors& tensors, const std::map<std::string, std::string>& metadata = {},
                      const std::vector<std::string>& rules = {}) {
    SmallModel model = prunable_model(5), before = prunable_model(5);
    std::string message = "(accepted)";
    try {
      NameMap map;
      for (const std::string& rule : rules) map.add(rule, "--map");
      const State state = renamed_to_lacuna(load_state(write(tensors, metadata)), map);
      assign_state(state, model.parameters, model.buffers());
    } catch (const CheckpointError& error) {
      message = error.what();
    }
    EXPECT_TRUE(same_bits(model, before)) << "a refused file changed the model";
    EXPECT_NE(message.find(path_.string()), std::string::npos) << message;
    return message;
  }

  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_ / "state.safetensors";
  AssignSummary summary_;
};

}  // namespace lacuna::interop
