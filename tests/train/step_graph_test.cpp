// A captured training step against the same steps run plainly: equal bits through pruning, growth, resuming and a schedule.
// On the CPU a stand-in records: it runs nothing while it records, and the function itself in each replay, so that whatever
// a step takes from the host shows. On CUDA it is a graph.
#include "train/step_graph.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "data/synthetic.h"
#include "layers/dropout.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "train/trainer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kClasses = 5, kPixels = 16, kSteps = 24;

struct Tally {
  int records = 0;
  int replays = 0;
  bool refuse = false;
};

class LateRecorder : public Recorder {
 public:
  explicit LateRecorder(Tally& tally) : tally_(tally) {}
  std::function<void()> record(const std::function<void()>& step) override {
    if (tally_.refuse) {
      step();  // half of it would have been recorded; its gradients stay about
      throw DeviceError("capture", "refused");
    }
    ++tally_.records;
    return [this, step] {
      ++tally_.replays;
      step();
    };
  }

 private:
  Tally& tally_;
};

/// linear - batch norm - relu - dropout - linear.
class Network : public Module {
 public:
  explicit Network(Init init) {
    first_ = &add_child<Linear>("first", 3 * kPixels, 12, LinearOptions{.bias = false}, init);
    norm_ = &add_child<BatchNorm>("norm", 12, BatchNormOptions{.relu = true}, init);
    last_ = &add_child<Linear>("last", 12, kClasses, LinearOptions{}, init);
  }
  Var forward(const Var& x, ForwardContext& context) override {
    const Var hidden = norm_->forward(first_->forward(flatten(x, kPixels), context), context);
    return last_->forward(dropout(hidden, 0.3, context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  Linear *first_ = nullptr, *last_ = nullptr;
  BatchNorm* norm_ = nullptr;
};

struct Training {
  Training(const TrainerConfig& config, Device device, std::unique_ptr<Recorder> recorder)
      : random(config.seed), network(Init{random}) {
    network.to(device);
    DataSplits data;
    data.train = std::make_shared<SyntheticImages>(
        SyntheticImagesOptions{.num_examples = 64, .num_classes = kClasses, .extent = {3, 4, 4}});
    trainer = std::make_unique<Trainer>(config, network, data, device, std::move(recorder));
  }
  RandomStream random;
  Network network;
  std::unique_ptr<Trainer> trainer;
};

TrainerConfig config_of(const std::string& method, const OptimizerConfig& optimizer) {
  TrainerConfig c;
  c.seed = 3;
  c.optimizer = optimizer;
  c.schedule = CosineScheduleConfig{.warmup_steps = 4};
  c.pruning.method = method;
  c.pruning.sparsity = 0.6;
  c.pruning.begin_step = method == "none" ? 0 : 5;
  c.pruning.end_step = 17;
  c.pruning.frequency = 6;
  c.training.steps = kSteps;
  c.training.batch_size = 8;
  c.training.accumulate = 2;
  c.training.clip_norm = 0.5;
  c.training.ema_decay = 0.9;
  c.num_workers = 0;
  return c;
}

using Bits = std::vector<std::vector<float>>;

/// Everything a step changes, and what it reports.
Bits state_of(Training& t) {
  Bits bits;
  for (const Parameter* p : t.trainer->parameters()) {
    bits.push_back(p->value().to_vector<float>());
    for (const auto& [name, slot] : p->slots()) bits.push_back(slot.to_vector<float>());
    if (p->is_sparse()) {
      const auto columns = p->topology()->col_indices().to_vector<std::int32_t>();
      bits.emplace_back(columns.begin(), columns.end());
    }
  }
  for (const NamedBuffer& b : t.trainer->buffers()) bits.push_back(b.tensor->to_vector<float>());
  bits.push_back({static_cast<float>(t.trainer->interval_loss_sum())});
  return bits;
}

void expect_same_training(const TrainerConfig& config, Device device, std::unique_ptr<Recorder> recorder,
                          int least_captures) {
  Training plain(config, device, nullptr), captured(config, device, std::move(recorder));
  ASSERT_EQ(plain.trainer->captured(), nullptr);
  ASSERT_NE(captured.trainer->captured(), nullptr);
  for (std::int64_t step = 0; step < kSteps; ++step) {
    plain.trainer->advance();
    captured.trainer->advance();
    ASSERT_EQ(state_of(captured), state_of(plain)) << "after step " << step;
    if (step % 5 == 4) {  // the sum begins anew, in its place
      EXPECT_EQ(captured.trainer->read_metrics().gradient_norm, plain.trainer->read_metrics().gradient_norm);
    }
  }
  EXPECT_GE(captured.trainer->captured()->num_captures(), least_captures) << captured.trainer->captured()->refusal();
  EXPECT_TRUE(captured.trainer->captured()->is_captured());
}

const std::vector<std::pair<std::string, OptimizerConfig>>& cases() {
  static const std::vector<std::pair<std::string, OptimizerConfig>> all{
      {"none", AdamConfig{.lr = 3e-3, .weight_decay = 0.01}},
      {"magnitude", AdamWConfig{.lr = 3e-3}},
      {"rigl", SgdConfig{.lr = 0.1, .momentum = 0.9, .weight_decay = 1e-3}},
  };
  return all;
}

TEST(StepGraph, TrainsAsPlainSteps) {
  for (const auto& [method, optimizer] : cases()) {
    SCOPED_TRACE(method);
    Tally tally;
    expect_same_training(config_of(method, optimizer), kCpu, std::make_unique<LateRecorder>(tally),
                         method == "none" ? 1 : 3);
    EXPECT_GT(tally.replays, tally.records);
    if (method == "none") {
      EXPECT_EQ(tally.replays, kSteps - 2);  // two steps of warm-up
    }
  }
}

TEST(StepGraph, ARefusedCaptureChangesNothing) {
  const TrainerConfig config = config_of("magnitude", AdamConfig{.lr = 3e-3});
  Tally tally{.refuse = true};
  Training plain(config, kCpu, nullptr), refused(config, kCpu, std::make_unique<LateRecorder>(tally));
  for (std::int64_t step = 0; step < 2; ++step) {
    plain.trainer->advance();
    refused.trainer->advance();
  }
  EXPECT_EQ(state_of(refused), state_of(plain));
  // A stand-in cannot take back what its attempt computed; that the next steps run at all, on clean gradients, is shown.
  for (std::int64_t step = 2; step < kSteps; ++step) refused.trainer->advance();
  EXPECT_FALSE(refused.trainer->captured()->is_captured());
  EXPECT_NE(refused.trainer->captured()->refusal().find("refused"), std::string::npos);
  EXPECT_FALSE(refused.trainer->diverged());
}

TEST(StepGraph, ADivergedStepIsNamedAndLeavesTheWeights) {
  TrainerConfig config = config_of("none", SgdConfig{.lr = 1e-3, .momentum = 0});
  for (const bool capture : {false, true}) {
    Tally tally;
    Training t(config, kCpu, capture ? std::make_unique<LateRecorder>(tally) : nullptr);
    for (int step = 0; step < 6; ++step) t.trainer->advance();
    EXPECT_FALSE(t.trainer->diverged());
    const Parameter* bias = t.trainer->parameters().back();
    bias->value().copy_from(Tensor::full(bias->value().shape(), INFINITY, DType::f32));
    std::vector<std::vector<float>> before, after;
    for (const Parameter* p : t.trainer->parameters()) before.push_back(p->value().to_vector<float>());
    for (int step = 6; step < 9; ++step) t.trainer->advance();
    for (const Parameter* p : t.trainer->parameters()) after.push_back(p->value().to_vector<float>());
    EXPECT_EQ(after, before);
    EXPECT_TRUE(t.trainer->diverged());
    EXPECT_EQ(t.trainer->first_bad_step(), 6);
  }
}

TEST(StepGraph, AnotherBatchShapeDropsTheRecording) {
  Tally tally;
  StepGraph graph(kCpu, std::make_unique<LateRecorder>(tally), 1);
  const auto run = [&](std::int64_t n) {
    graph.load(0, {Tensor::full({n}, 1, DType::f32), Tensor::full({n}, 2, DType::f32)});
    return graph.run([] {}, {});
  };
  using Ran = CapturedStep::Ran;
  std::vector<Ran> ran;
  for (const std::int64_t n : {3, 3, 3, 3, 4, 4, 4}) ran.push_back(run(n));
  EXPECT_EQ(ran, (std::vector<Ran>{Ran::eager, Ran::eager, Ran::captured, Ran::replayed, Ran::eager, Ran::captured,
                                   Ran::replayed}));
}

TEST(StepGraph, IsOffUnlessAskedFor) {
  Training t(config_of("none", AdamConfig{}), kCpu, nullptr);
  EXPECT_EQ(t.trainer->captured(), nullptr);
  TrainerConfig asked = config_of("none", AdamConfig{});
  asked.training.cuda_graph = true;
  Training on_cpu(asked, kCpu, nullptr);
  EXPECT_EQ(on_cpu.trainer->captured(), nullptr);  // nothing to gain there
}

TEST(StepGraphOnCuda, TrainsAsPlainSteps) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  for (const auto& [method, optimizer] : cases()) {
    SCOPED_TRACE(method);
    expect_same_training(config_of(method, optimizer), devices()[1], make_recorder(devices()[1]),
                         method == "none" ? 1 : 3);
  }
}

}  // namespace
}  // namespace lacuna
