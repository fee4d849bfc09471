// The predictor against the module's own evaluation; averaged weights; repeated passes.
#include "train/predictor.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "layers/conv.h"
#include "layers/norm.h"
#include "tests/layers/module_check.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

constexpr std::int64_t kPixels = 9;

/// pointwise convolution - batch norm + relu - pointwise convolution; the norm folds into the first.
class Network : public Module {
 public:
  explicit Network(Init init) {
    first_ = &add_child<PointwiseConv>("first", 5, 8, PointwiseOptions{}, init);
    norm_ = &add_child<BatchNorm>("norm", 8, BatchNormOptions{.relu = true}, init);
    last_ = &add_child<PointwiseConv>("last", 8, 3, PointwiseOptions{.bias = true}, init);
  }
  Var forward(const Var& x, ForwardContext& context) override {
    return last_->forward(norm_->forward(first_->forward(x, context), context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 protected:
  void on_prepare_for_inference() override { first_->absorb(norm_->dissolve()); }

 private:
  PointwiseConv *first_ = nullptr, *last_ = nullptr;
  BatchNorm* norm_ = nullptr;
};

struct Fixture {
  explicit Fixture(Device device, bool sparse = true) : random(4), network(Init{random}) {
    network.parameters();
    std::uint64_t seed = 0;
    for (const NamedBuffer& b : network.buffers())
      b.tensor->copy_from(random_uniform(b.tensor->shape(), 0.5, 1.5, {++seed, 1}, DType::f32, kCpu));
    if (sparse) make_sparse(network);
    network.to(device);
  }
  RandomStream random;
  Network network;
};

Tensor inputs(std::int64_t batch, std::uint64_t seed, Device device) {
  return random_uniform({5, batch * kPixels}, -1, 1, {seed, 3}, DType::f32, device);
}

TEST(Predictor, IsTheModulesEvaluation) {
  for (const Device device : devices())
    for (const bool sparse : {false, true})
      for (const bool graph : {false, true}) {
        Fixture plain(device, sparse), ready(device, sparse);
        Predictor predictor(ready.network, inputs(2, 1, device), graph);
        EXPECT_TRUE(ready.network.buffers().empty()) << "nothing was folded";
        for (std::uint64_t seed = 1; seed < 7; ++seed) {  // past warm-up and capture; another batch in between
          const std::int64_t batch = seed == 5 ? 3 : 2;
          const Tensor x = inputs(batch, seed, device);
          const Tensor y = predictor(x);
          ASSERT_TRUE(y.shape() == (Shape{3, batch * kPixels}));
          expect_near(y.to(kCpu).to(DType::f64).to_vector<double>(), evaluate(plain.network, x), 2e-6);
        }
        if (device.is_cuda() && graph) {
          EXPECT_TRUE(predictor.step().is_captured()) << predictor.step().refusal();
        }
      }
}

TEST(Predictor, RepeatsItsBits) {
  for (const Device device : devices()) {
    Fixture fixture(device);
    Predictor eager(fixture.network, inputs(2, 1, device), false), graph(fixture.network, inputs(2, 1, device), true);
    eager.run();
    const auto expected = eager.outputs().to_vector<float>();
    for (int i = 0; i < 5; ++i) {
      graph.run();
      EXPECT_EQ(graph.outputs().to_vector<float>(), expected);
    }
    graph.inputs().copy_from(inputs(2, 2, device));
    graph.run();
    EXPECT_NE(graph.outputs().to_vector<float>(), expected);
  }
}

TEST(Predictor, EvaluationKeepsNothingForABackwardPass) {
  Fixture fixture(kCpu);
  Predictor predictor(fixture.network, inputs(2, 1, kCpu), false);
  predictor.run();
  const std::size_t before = memory_stats(kCpu).live_bytes;
  for (int i = 0; i < 3; ++i) predictor.run();
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before);
}

TEST(Predictor, TakesTheAveragedWeightsAndNoState) {
  TemporaryDirectory directory;
  const std::filesystem::path path = directory / "step-00000007.safetensors";
  Fixture trained(kCpu);
  for (Parameter* p : trained.network.parameters()) {
    p->slots()["adam_m"] = Tensor::zeros_like(p->value());
    p->slots()["ema"] = Tensor::full(p->value().shape(), 0.25, DType::f32);
  }
  TrainingState state;
  state.step = 7;
  save_checkpoint(path, trained.network.parameters(), trained.network.buffers(), state);
  Fixture loaded(kCpu, false);
  EXPECT_EQ(load_weights(path, loaded.network).step, 7);
  for (const Parameter* p : loaded.network.parameters()) {
    EXPECT_TRUE(p->slots().empty()) << p->name();
    for (const float value : p->value().to_vector<float>()) ASSERT_EQ(value, 0.25f);
  }
  EXPECT_TRUE(loaded.network.parameters().front()->is_sparse());
}

}  // namespace
}  // namespace lacuna
