// States of other frameworks: what is read, put into a model, and written.
#include "tests/train/interop/state_testing.h"

namespace lacuna::interop {
namespace {

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

}  // namespace
}  // namespace lacuna::interop
