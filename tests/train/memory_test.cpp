// Memory is real, in a whole training run: after pruning no dense buffer of the layer is alive between steps.
#include <gtest/gtest.h>

#include <algorithm>

#include "data/synthetic.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "train/trainer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kOutputs = 512, kInputs = 768, kClasses = 10;  // images of 3 x 16 x 16
constexpr std::size_t kDenseBytes = static_cast<std::size_t>(kOutputs * kInputs) * 4;

class Network : public Module {
 public:
  explicit Network(Init init) {
    first_ = &add_child<Linear>("first", kInputs, kOutputs, LinearOptions{.activation = Activation::relu}, init);
    second_ = &add_child<Linear>("second", kOutputs, kClasses, LinearOptions{.prunable = false}, init);
  }
  Var forward(const Var& x, ForwardContext& context) override {
    return second_->forward(first_->forward(flatten(x, 256), context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  Linear* first_ = nullptr;
  Linear* second_ = nullptr;
};

void expect_no_dense_buffer(Device device) {
  RandomStream random(1);
  Network network(Init{random});
  network.to(device);
  DataSplits data;
  data.train = std::make_shared<SyntheticImages>(SyntheticImagesOptions{.num_examples = 256, .num_classes = kClasses, .extent = {3, 16, 16}});
  TrainerConfig config;
  config.optimizer = AdamConfig{};
  config.pruning.method = "magnitude";
  config.pruning.schedule = "one_shot";
  config.pruning.sparsity = 0.95;
  config.pruning.begin_step = 2;
  config.training.steps = 10;
  config.training.batch_size = 16;
  config.training.accumulate = 2;
  config.training.clip_norm = 1;
  config.num_workers = 0;
  Trainer trainer(config, network, data, device);
  const auto count_dense = [&] {
    synchronize(device);
    const std::vector<std::size_t> blocks = live_blocks(device);
    return std::count_if(blocks.begin(), blocks.end(), [](std::size_t bytes) { return bytes >= kDenseBytes; });
  };
  std::vector<std::size_t> live;
  for (std::int64_t step = 0; step < config.training.steps; ++step) {
    trainer.advance();
    const auto dense = count_dense();
    if (step < config.pruning.begin_step)
      EXPECT_EQ(dense, 3) << "weight and two moments; the gradient was dropped";
    else
      EXPECT_EQ(dense, 0) << "step " << step;
    live.push_back(memory_stats(device).live_bytes);
  }
  const Parameter& weight = *trainer.parameters().front();
  ASSERT_TRUE(weight.is_sparse());
  EXPECT_EQ(weight.nnz(), 19661) << "round(0.05 * 512 * 768)";
  EXPECT_EQ(weight.state_bytes(), 3u * 19661 * 4);
  EXPECT_EQ(live[4], live.back()) << "memory must not grow";
  std::size_t accounted = 0;
  for (const Parameter* p : trainer.parameters()) accounted += p->state_bytes() + p->topology_bytes();
  EXPECT_GE(live.back(), accounted);
  EXPECT_LT(live.back(), accounted + 128 * 1024) << "beside parameters: a batch, a few scalars";
}

TEST(TrainingMemory, NoDenseBufferAfterPruning) { expect_no_dense_buffer(kCpu); }

TEST(TrainingMemory, NoDenseBufferAfterPruningOnCuda) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  expect_no_dense_buffer(devices()[1]);
}

}  // namespace
}  // namespace lacuna
