// States of other frameworks: what is read, put into a model, written, and refused.
#include "train/interop/state.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna::interop {
namespace {

using Tensors = std::map<std::string, Tensor>;

Tensor f32(const std::vector<float>& values, const Shape& shape) { return Tensor::from(values, shape); }
Tensor i64(const std::vector<std::int64_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}
Tensor i32(const std::vector<std::int32_t>& values) {
  return Tensor::from(values, {static_cast<std::int64_t>(values.size())});
}

/// SmallModel's four tensors, dense: weight [3, 4] (with zeros), dense [2, 3], bias [3], norm.running_mean [3].
Tensors dense_tensors() {
  return {{"weight", f32({0, 1, 0, 2, 0, 0, 0, 0, 3, 4, 5, 0}, {3, 4})},
          {"dense", f32({1, 2, 3, 4, 5, 6}, {2, 3})},
          {"bias", f32({7, 8, 9}, {3})},
          {"norm.running_mean", f32({-1, -2, -3}, {3})}};
}

Tensors csr_tensors() {
  Tensors tensors = dense_tensors();
  tensors.erase("weight");
  tensors["weight.crow_indices"] = i64({0, 2, 2, 5});
  tensors["weight.col_indices"] = i64({1, 3, 0, 1, 2});
  tensors["weight.values"] = f32({1, 2, 3, 4, 5}, {5});
  return tensors;
}

Tensors pruned_tensors() {
  Tensors tensors = dense_tensors();
  tensors.erase("weight");
  tensors["weight_orig"] = f32({9, 1, 9, 2, 9, 9, 9, 9, 3, 4, 5, 9}, {3, 4});  // 9: masked, to be forgotten
  tensors["weight_mask"] = f32({0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0}, {3, 4});
  return tensors;
}

SmallModel prunable_model(double fill = 0) {
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

TEST_F(InteropState, ReadsCsrInEitherIndexWidth) {
  expect_example_weight(assigned(csr_tensors()));
  Tensors narrow = csr_tensors();
  narrow["weight.crow_indices"] = i32({0, 2, 2, 5});
  narrow["weight.col_indices"] = i32({1, 3, 0, 1, 2});
  expect_example_weight(assigned(narrow));  // the last column is empty in the file; the model knows it is there
  EXPECT_EQ(summary_.sparse, 1);
  EXPECT_EQ(summary_.dense, 2);
  EXPECT_EQ(summary_.buffers, 1);
}

TEST_F(InteropState, ReadsPruneNamesAndForgetsWhatIsMasked) {
  expect_example_weight(assigned(pruned_tensors()));
  Tensors bytes = pruned_tensors();
  bytes["weight_mask"] = Tensor::from(std::vector<std::uint8_t>{0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0}, {3, 4});
  expect_example_weight(assigned(bytes));
}

TEST_F(InteropState, AMaskKeepsZerosThatItKeeps) {
  Tensors tensors = pruned_tensors();
  tensors["weight_orig"].data<float>()[1] = 0;
  EXPECT_EQ(assigned(tensors).parameters[0]->nnz(), 5);
}

TEST_F(InteropState, ReadsDenseAndTakesZerosAsAbsentOnRequestAlone) {
  EXPECT_FALSE(assigned(dense_tensors()).parameters[0]->is_sparse());
  expect_example_weight(assigned(dense_tensors(), {.zeros_are_absent = true}));
  EXPECT_FALSE(assigned(dense_tensors(), {.zeros_are_absent = true}).parameters[1]->is_sparse());  // not prunable
}

TEST_F(InteropState, KeepsWhatMayNotBePrunedDense) {
  Tensors tensors = dense_tensors();
  tensors.erase("dense");
  tensors["dense_orig"] = f32({1, 2, 3, 4, 5, 6}, {2, 3});
  tensors["dense_mask"] = f32({1, 0, 0, 0, 0, 1}, {2, 3});
  tensors.erase("bias");
  tensors["bias_orig"] = f32({7, 8, 9}, {3});
  tensors["bias_mask"] = f32({1, 0, 1}, {3});
  const SmallModel model = assigned(tensors);
  EXPECT_EQ(model.parameters[1]->value().to_vector<float>(), (std::vector<float>{1, 0, 0, 0, 0, 6}));
  EXPECT_EQ(model.parameters[2]->value().to_vector<float>(), (std::vector<float>{7, 0, 9}));
  EXPECT_EQ(summary_.notes.size(), 2u);
}

TEST_F(InteropState, MergesConvolutionAxesAndDropsAxesOfOne) {
  Tensors tensors = pruned_tensors();
  for (const char* name : {"weight_orig", "weight_mask"}) tensors[name] = tensors[name].reshape({3, 1, 2, 2});
  tensors["dense"] = tensors["dense"].reshape({2, 3, 1, 1});
  tensors["bias"] = tensors["bias"].reshape({1, 3, 1, 1});
  const SmallModel model = assigned(tensors);
  expect_example_weight(model);
  EXPECT_EQ(model.parameters[1]->value().shape(), (Shape{2, 3}));
}

TEST_F(InteropState, WidensAndSaysSo) {
  Tensors tensors = dense_tensors();
  for (auto& [name, tensor] : tensors) tensor = tensor.to(DType::f64);
  EXPECT_EQ(assigned(tensors).parameters[1]->value().to_vector<float>(), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(summary_.notes, (std::vector<std::string>{"4 tensors converted from f64 to f32"}));
}

TEST_F(InteropState, CountersOfBatchNormsAreLeftOut) {
  Tensors tensors = dense_tensors();
  tensors["norm.num_batches_tracked"] = i64({17});
  assigned(tensors);
  EXPECT_EQ(summary_.notes, (std::vector<std::string>{"1 num_batches_tracked left out"}));
}

TEST_F(InteropState, ReadsCheckpointsAndTheirAverages) {
  SmallModel saved = SmallModel::trained();
  saved.parameters[0]->slots()["ema"] = SmallModel::counting({5}, 0.25f);
  save_checkpoint(path_, saved.parameters, saved.buffers(), example_state());
  const State averaged = load_state(path_), last = load_state(path_, Averages::ignored);
  EXPECT_EQ(averaged.tensors.size(), 4u);
  EXPECT_EQ(averaged.tensors.at("weight").shape, (Shape{3, 4}));
  EXPECT_EQ(averaged.tensors.at("weight").value.to_vector<float>(),
            SmallModel::counting({5}, 0.25f).to_vector<float>());
  EXPECT_EQ(last.tensors.at("weight").value.to_vector<float>(), SmallModel::counting({5}, 0.5f).to_vector<float>());
}

TEST_F(InteropState, EveryFormatComesBackInTheSameBits) {
  SmallModel saved = SmallModel::trained();
  saved.parameters[0]->value().data<float>()[2] = -0.0f;  // a stored zero stays stored, and keeps its sign
  save_checkpoint(path_, saved.parameters, saved.buffers(), example_state());
  const State state = load_state(path_);
  for (const StateFormat format : {StateFormat::torch_sparse, StateFormat::torch_prune}) {
    write_safetensors(directory_ / "out.safetensors", encode_state(state, format));
    SmallModel back = prunable_model();
    assign_state(load_state(directory_ / "out.safetensors"), back.parameters, back.buffers());
    for (Parameter* p : saved.parameters) p->slots().clear();
    EXPECT_TRUE(same_bits(back, saved)) << static_cast<int>(format);
  }
}

TEST_F(InteropState, WhatTheMapLeavesOutIsNotLookedAt) {
  Tensors tensors = dense_tensors();
  tensors["position_ids"] = i64({0, 1, 2});
  tensors["causal_mask"] = f32({1, 0, 1}, {3});
  NameMap map;
  map.add("position_ids=", "here");
  map.add("*_mask=", "here");
  SmallModel model = prunable_model();
  const State state = renamed_to_lacuna(load_state(write(tensors), Averages::taken, &map), map);
  const AssignSummary summary = assign_state(state, model.parameters, model.buffers());
  EXPECT_EQ(summary.notes, (std::vector<std::string>{"'causal_mask' left out", "'position_ids' left out"}));
}

TEST_F(InteropState, StackedProjectionsAreCutAndStackedAgain) {
  State state{"here", {}, {}};
  state.tensors["a.in_proj_weight"] =
      without_zeros({{6, 2}, f32({1, 0, 0, 4, 5, 6, 0, 0, 9, 10, 11, 12}, {6, 2}), nullptr});
  state.tensors["a.in_proj_bias"] = {{6}, f32({1, 2, 3, 4, 5, 6}, {6}), nullptr};
  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<Parameter*> parameters;
  for (const char* name : {"a.query", "a.key", "a.value"}) {
    for (const char* part : {".weight", ".bias"}) {
      const bool weight = std::string(part) == ".weight";
      owned.push_back(std::make_unique<Parameter>(std::string(name) + part,
                                                  Tensor::zeros(weight ? Shape{2, 2} : Shape{2}, DType::f32)));
      parameters.push_back(owned.back().get());
      parameters.back()->prunable = weight;
    }
  }
  assign_state(state, parameters, {});
  EXPECT_EQ(parameters[2]->value().to_vector<float>(), (std::vector<float>{5, 6}));
  EXPECT_EQ(parameters[2]->topology()->row_offsets().to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 2, 2}));
  EXPECT_EQ(parameters[5]->value().to_vector<float>(), (std::vector<float>{5, 6}));

  State apart{"there", {}, {}};
  for (const Parameter* p : parameters) apart.tensors[p->name()] = {p->shape(), p->value(), p->topology()};
  NameMap map;
  map.add("mha.in_proj_* = a.in_proj_*", "here");
  const State stacked = renamed_to_file(apart, map);
  ASSERT_EQ(stacked.tensors.size(), 2u);
  const StateTensor& whole = stacked.tensors.at("mha.in_proj_weight");
  EXPECT_TRUE(whole.topology->same_pattern(*state.tensors["a.in_proj_weight"].topology));
  EXPECT_EQ(whole.value.to_vector<float>(), state.tensors["a.in_proj_weight"].value.to_vector<float>());
}

TEST_F(InteropState, TurnsWhatTheMapSays) {
  NameMap map;
  map.add("weight = weight^T", "here");
  for (const Tensors& tensors : {dense_tensors(), pruned_tensors()}) {
    const State state = load_state(write(tensors));
    const State turned = renamed_to_lacuna(state, map);
    EXPECT_EQ(turned.tensors.at("weight").shape, (Shape{4, 3}));
    EXPECT_EQ(dense_value(turned.tensors.at("weight")).to_vector<float>(),
              (std::vector<float>{0, 0, 3, 1, 0, 4, 0, 0, 5, 2, 0, 0}));
    const State back = renamed_to_file(turned, map);
    EXPECT_EQ(dense_value(back.tensors.at("weight")).to_vector<float>(),
              dense_value(state.tensors.at("weight")).to_vector<float>());
  }
}

TEST_F(InteropState, RefusesWhatDoesNotFit) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  struct Case {
    const char* name;
    std::function<Tensors()> tensors;
    std::vector<std::string> parts;
    std::map<std::string, std::string> metadata = {};
    std::vector<std::string> rules = {};
  };
  const auto changed = [](Tensors tensors, const std::string& name, const Tensor& tensor) {
    tensors[name] = tensor;
    return tensors;
  };
  const auto without = [](Tensors tensors, const std::string& name) {
    tensors.erase(name);
    return tensors;
  };
  const std::vector<Case> cases{
      {"nothing", [] { return Tensors{}; }, {"holds no weights"}},
      {"no column indices",
       [&] { return without(csr_tensors(), "weight.col_indices"); },
       {"'weight.col_indices' is missing"}},
      {"no offsets",
       [&] { return without(csr_tensors(), "weight.crow_indices"); },
       {"'weight.crow_indices' is missing"}},
      {"no values",
       [&] { return without(csr_tensors(), "weight.values"); },
       {"'weight.values' is missing", "crow_indices"}},
      {"no mask",
       [&] { return without(pruned_tensors(), "weight_mask"); },
       {"'weight_mask' is missing", "weight_orig"}},
      {"no original", [&] { return without(pruned_tensors(), "weight_orig"); }, {"'weight_orig' is missing"}},
      {"CSR and dense", [&] { return changed(csr_tensors(), "weight", f32({1}, {1})); }, {"'weight'", "twice"}},
      {"mask and dense", [&] { return changed(pruned_tensors(), "weight", f32({1}, {1})); }, {"'weight'", "twice"}},
      {"columns fall",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i64({3, 1, 0, 1, 2}));
       },
       {"'weight'", "CSR"}},
      {"column twice",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i64({1, 1, 0, 1, 2}));
       },
       {"'weight'", "CSR"}},
      {"column past the model's",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i64({1, 7, 0, 1, 2}));
       },
       {"[3, 8]", "[3, 4]"}},
      {"column past 31 bits",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i64({1, 1ll << 40, 0, 1, 2}));
       },
       {"1099511627776", "2147483647"}},
      {"column below 0",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i64({-1, 3, 0, 1, 2}));
       },
       {"holds -1"}},
      {"narrow column below 0",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", i32({-1, 3, 0, 1, 2}));
       },
       {"CSR"}},
      {"indices are real",
       [&] {
         return changed(csr_tensors(), "weight.col_indices", f32({1, 3, 0, 1, 2}, {5}));
       },
       {"i32 or i64"}},
      {"indices are a matrix",
       [&] {
         return changed(csr_tensors(), "weight.crow_indices", Tensor::zeros({2, 2}, DType::i64));
       },
       {"one axis"}},
      {"offsets fall",
       [&] {
         return changed(csr_tensors(), "weight.crow_indices", i64({0, 3, 2, 5}));
       },
       {"CSR"}},
      {"offsets begin late",
       [&] {
         return changed(csr_tensors(), "weight.crow_indices", i64({1, 2, 2, 5}));
       },
       {"CSR"}},
      {"offsets end early",
       [&] {
         return changed(csr_tensors(), "weight.crow_indices", i64({0, 2, 2, 4}));
       },
       {"CSR"}},
      {"offsets empty", [&] { return changed(csr_tensors(), "weight.crow_indices", i64({})); }, {"rows + 1"}},
      {"values too few",
       [&] {
         return changed(csr_tensors(), "weight.values", f32({1, 2, 3, 4}, {4}));
       },
       {"one entry per nonzero"}},
      {"values are integers",
       [&] {
         return changed(csr_tensors(), "weight.values", i64({1, 2, 3, 4, 5}));
       },
       {"i64", "must be f32"}},
      {"shape elsewhere says otherwise", csr_tensors, {"CSR"}, {{"lacuna_shapes", "{\"weight\": [3, 3]}"}}},
      {"shapes no JSON", csr_tensors, {"metadata is malformed"}, {{"lacuna_shapes", "{"}}},
      {"shapes negative", csr_tensors, {"metadata is malformed"}, {{"lacuna_shapes", "{\"weight\": [-3, 4]}"}}},
      {"mask of another shape",
       [&] {
         return changed(pruned_tensors(), "weight_mask", f32({1, 0, 1}, {3}));
       },
       {"[3, 4]", "[3]", "one shape"}},
      {"mask of fractions",
       [&] {
         return changed(pruned_tensors(), "weight_mask", Tensor::full({3, 4}, 0.5, DType::f32));
       },
       {"0.5", "0 or 1"}},
      {"mask of NaN",
       [&] {
         return changed(pruned_tensors(), "weight_mask", Tensor::full({3, 4}, nan, DType::f32));
       },
       {"nan", "finite"}},
      {"mask of integers",
       [&] {
         return changed(pruned_tensors(), "weight_mask", Tensor::zeros({3, 4}, DType::i64));
       },
       {"weight_mask", "i64"}},
      {"weight of integers",
       [&] {
         return changed(dense_tensors(), "bias", i64({1, 2, 3}));
       },
       {"'bias' is i64"}},
      {"weight of NaN",
       [&] {
         return changed(dense_tensors(), "bias", f32({1, nan, 3}, {3}));
       },
       {"'bias'", "element 1", "finite"}},
      {"f64 past f32",
       [&] { return changed(dense_tensors(), "bias", Tensor::full({3}, 1e300, DType::f64)); },
       {"'bias'", "inf", "as f32"}},
      {"parameter missing",
       [&] { return without(dense_tensors(), "bias"); },
       {"parameter 'bias' [3] is missing", "--map 'FILE_NAME=bias'"}},
      {"buffer missing",
       [&] { return without(dense_tensors(), "norm.running_mean"); },
       {"buffer 'norm.running_mean'", "missing"}},
      {"misspelt",
       [&] {
         return changed(without(dense_tensors(), "bias"), "biass", f32({1, 2, 3}, {3}));
       },
       {"did you mean 'biass'?"}},
      {"one too many",
       [&] { return changed(dense_tensors(), "extra.weight", f32({1}, {1})); },
       {"'extra.weight' [1] belongs to nothing", "--map 'extra.weight='"}},
      {"other shape",
       [&] {
         return changed(dense_tensors(), "dense", f32({1, 2, 3, 4}, {2, 2}));
       },
       {"'dense' has shape [2, 2]", "has [2, 3]", "config"}},
      {"transposed",
       [&] {
         return changed(dense_tensors(), "weight", Tensor::zeros({4, 3}, DType::f32));
       },
       {"[4, 3]", "[3, 4]", "--map 'weight=weight^T'"}},
      {"other shape of a buffer",
       [&] {
         return changed(dense_tensors(), "norm.running_mean", f32({1, 2}, {2}));
       },
       {"[2]", "[3]"}},
      {"bias as a matrix",
       [&] {
         return changed(dense_tensors(), "bias", Tensor::zeros({3, 3}, DType::f32));
       },
       {"[3, 3]", "[3]"}},
      {"two of one name", dense_tensors, {"'dense'", "both be named 'dense'"}, {}, {"weight=dense"}},
      {"a vector turned", dense_tensors, {"'bias' cannot be turned"}, {}, {"bias=bias^T"}},
      {"columns unknown, turned", csr_tensors, {"how many columns"}, {}, {"weight=weight^T"}},
  };
  for (const Case& c : cases) {
    const std::string message = refusal(c.tensors(), c.metadata, c.rules);
    for (const std::string& part : c.parts)
      EXPECT_NE(message.find(part), std::string::npos) << c.name << ": '" << part << "' is not in: " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace lacuna::interop
