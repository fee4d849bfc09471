// What a training loop meets rarely: epochs that are no whole number of steps, padded targets, a run that diverged and goes
// on from before, operands kept for a growth that never comes, slots replaced under a recording.
#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "data/synthetic.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kClasses = 5, kPixels = 16;

class Network : public Module {
 public:
  explicit Network(Init init) {
    first_ = &add_child<Linear>("first", 3 * kPixels, 12, LinearOptions{.activation = Activation::relu}, init);
    last_ = &add_child<Linear>("last", 12, kClasses, LinearOptions{.prunable = false}, init);
  }
  Var forward(const Var& x, ForwardContext& context) override {
    return last_->forward(first_->forward(flatten(x, kPixels), context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  Linear *first_ = nullptr, *last_ = nullptr;
};

struct Training {
  explicit Training(const TrainerConfig& config, std::unique_ptr<Recorder> recorder = nullptr)
      : random(config.seed), network(Init{random}) {
    DataSplits data;
    data.train = std::make_shared<SyntheticImages>(
        SyntheticImagesOptions{.num_examples = 64, .num_classes = kClasses, .extent = {3, 4, 4}});
    trainer = std::make_unique<Trainer>(config, network, data, kCpu, std::move(recorder));
  }
  RandomStream random;
  Network network;
  std::unique_ptr<Trainer> trainer;
};

TrainerConfig config_of(const std::string& method) {
  TrainerConfig c;
  c.seed = 3;
  c.optimizer = SgdConfig{.lr = 0.05, .momentum = 0.9};
  c.pruning.method = method;
  c.pruning.sparsity = 0.6;
  c.pruning.begin_step = 4;
  c.pruning.end_step = 10;
  c.pruning.frequency = 4;
  c.training.steps = 16;
  c.training.batch_size = 8;
  c.num_workers = 0;
  return c;
}

TEST(TrainerEdges, EpochsAreWhatTheTrainingSetIsSeen) {
  struct Case {
    double epochs;
    std::int64_t accumulate, steps;
  };
  // 64 examples in batches of 8: an epoch is 8 batches.
  for (const Case& c : {Case{2, 1, 16}, {3, 3, 8}, {4, 16, 2}, {0.5, 2, 2}, {0.01, 4, 1}}) {
    TrainerConfig config = config_of("none");
    config.training.steps = 0;
    config.training.epochs = c.epochs;
    config.training.accumulate = c.accumulate;
    EXPECT_EQ(Training(config).trainer->total_steps(), c.steps) << c.epochs << " epochs by " << c.accumulate;
  }
  // Pruning that ends with the fourth epoch of five has its room, in the same measure.
  TrainerConfig config = config_of("magnitude");
  config.training.steps = 0;
  config.training.epochs = 5;
  config.training.accumulate = 5;
  config.pruning.begin_epoch = 1;
  config.pruning.end_epoch = 4;
  config.pruning.frequency_epochs = 1;
  Training training(config);
  EXPECT_EQ(training.trainer->total_steps(), 8);
  EXPECT_EQ(training.trainer->pruner()->last_step(), 6);
}

/// Another set's examples, of which some have no class: padding.
class Padded : public Dataset {
 public:
  Padded(const Dataset& all, std::function<bool(std::int64_t)> is_padding)
      : all_(all), is_padding_(std::move(is_padding)) {}
  DatasetKind kind() const override { return all_.kind(); }
  std::int64_t num_examples() const override { return all_.num_examples(); }
  std::int64_t num_classes() const override { return all_.num_classes(); }
  std::string description() const override { return "padded"; }
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override {
    Batch result = all_.batch(indices, key);
    for (std::size_t i = 0; i < indices.size(); ++i)
      if (is_padding_(indices[i])) result.targets.data<std::int32_t>()[i] = -1;
    return result;
  }

 private:
  const Dataset& all_;
  std::function<bool(std::int64_t)> is_padding_;
};

TEST(TrainerEdges, EvaluationDoesNotCountPadding) {
  const SyntheticImages whole({.num_examples = 20, .num_classes = kClasses, .extent = {3, 4, 4}});
  const auto is_padding = [](std::int64_t i) { return i % 3 == 1 || (i >= 8 && i < 12); };
  RandomStream random(1);
  Network network(Init{random});
  double loss = 0, right = 0;
  std::int64_t count = 0;
  for (std::int64_t example = 0; example < 20; ++example) {
    if (is_padding(example)) continue;
    const Padded all_but_one(whole, [example](std::int64_t i) { return i != example; });
    const Evaluation one = evaluate(network, all_but_one, 20, kCpu);
    EXPECT_EQ(one.num_targets, 1);
    loss += one.loss;
    right += one.accuracy;
    ++count;
  }
  const Padded padded(whole, is_padding);
  for (const std::int64_t batch_size : {1, 4, 7, 20}) {  // by 4, the third batch is padding alone
    const Evaluation all = evaluate(network, padded, batch_size, kCpu);
    EXPECT_EQ(all.num_targets, count);
    EXPECT_NEAR(all.loss, loss / static_cast<double>(count), 1e-5) << batch_size;
    EXPECT_NEAR(all.accuracy, right / static_cast<double>(count), 1e-6) << batch_size;
  }
  const Padded nothing(whole, [](std::int64_t) { return true; });
  EXPECT_THROW(evaluate(network, nothing, 7, kCpu), DataError);
}

void poison(Trainer& trainer) {
  const Tensor& bias = trainer.parameters().back()->value();
  bias.copy_from(Tensor::full(bias.shape(), INFINITY, DType::f32));
}

TEST(TrainerEdges, ADivergedTrainerGoesOnFromBefore) {
  const TemporaryDirectory directory;
  for (const char* method : {"none", "rigl"}) {
    const TrainerConfig config = config_of(method);
    Training straight(config), other(config);
    while (!straight.trainer->finished()) straight.trainer->advance();

    Trainer& trainer = *other.trainer;
    for (int step = 0; step < 7; ++step) trainer.advance();
    const auto path = directory / method;
    save_checkpoint(path, trainer.parameters(), trainer.buffers(), {});
    poison(trainer);
    for (int step = 7; step < 10; ++step) trainer.advance();
    ASSERT_TRUE(trainer.diverged());
    EXPECT_EQ(trainer.first_bad_step(), 7);

    load_checkpoint(path, trainer.parameters(), trainer.buffers());
    trainer.resume_at(7, 0, 0);
    EXPECT_FALSE(trainer.diverged());
    while (!trainer.finished()) trainer.advance();
    EXPECT_FALSE(trainer.diverged());
    EXPECT_EQ(trainer.first_bad_step(), config.training.steps);  // none was
    for (std::size_t i = 0; i < trainer.parameters().size(); ++i)
      EXPECT_TRUE(same_bits(*straight.trainer->parameters()[i], *trainer.parameters()[i])) << method << " " << i;
  }
}

TEST(TrainerEdges, AStepThatDidNotEndLeavesNoGradients) {
  const TrainerConfig config = config_of("none");
  Training straight(config), other(config);
  while (!straight.trainer->finished()) straight.trainer->advance();
  Trainer& trainer = *other.trainer;
  for (int step = 0; step < 7; ++step) trainer.advance();
  // As if a second micro-batch had found no memory.
  for (Parameter* p : trainer.parameters()) {
    p->var().set_grad(Tensor::full(p->value().shape(), 1, DType::f32));
    p->gradient_pairs = std::make_shared<GradientPairs>();
  }
  trainer.resume_at(7, 0, 0);
  while (!trainer.finished()) trainer.advance();
  for (std::size_t i = 0; i < trainer.parameters().size(); ++i) {
    EXPECT_TRUE(same_bits(*straight.trainer->parameters()[i], *trainer.parameters()[i])) << i;
    EXPECT_EQ(trainer.parameters()[i]->gradient_pairs, nullptr);
  }
}

TEST(TrainerEdges, AGrowthThatDivergenceForbidsLeavesNoOperandsBehind) {
  Training t(config_of("rigl"));
  for (int step = 0; step < 4; ++step) t.trainer->advance();
  poison(*t.trainer);
  t.trainer->advance();  // step 4 was to grow
  EXPECT_TRUE(t.trainer->diverged());
  for (const Parameter* p : t.trainer->parameters()) EXPECT_EQ(p->gradient_pairs, nullptr) << p->name();
}

/// Records nothing, and plays by calling; what matters here is when a recording is dropped.
class CallingRecorder : public Recorder {
 public:
  std::function<void()> record(const std::function<void()>& step) override { return step; }
};

TEST(TrainerEdges, RewindingDropsTheRecordingThatNamesTheOldSlots) {
  TrainerConfig config = config_of("magnitude");
  config.pruning.schedule = "cubic";  // the update at begin_step prunes nothing, but rewinds
  config.pruning.rewind_step = 1;
  Training plain(config), captured(config, std::make_unique<CallingRecorder>());
  const CapturedStep& graph = *captured.trainer->captured();
  for (int step = 0; step < 4; ++step) captured.trainer->advance(), plain.trainer->advance();
  ASSERT_TRUE(graph.is_captured());
  captured.trainer->advance(), plain.trainer->advance();
  ASSERT_EQ(captured.trainer->sparsity(), 0);
  EXPECT_FALSE(graph.is_captured()) << "a replay would update momentum that is nobody's any more";
  while (!plain.trainer->finished()) captured.trainer->advance(), plain.trainer->advance();
  for (std::size_t i = 0; i < plain.trainer->parameters().size(); ++i)
    EXPECT_TRUE(same_bits(*plain.trainer->parameters()[i], *captured.trainer->parameters()[i])) << i;
}

}  // namespace
}  // namespace lacuna
