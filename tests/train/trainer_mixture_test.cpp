// Trainings of random settings, each run straight and again in pieces: recorded, recomputed, stopped and resumed in a fresh
// trainer, with evaluations and log points between. Everything that a step changes must have the same bits.
#include <gtest/gtest.h>

#include "data/synthetic.h"
#include "layers/dropout.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "layers/recompute.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/checkpoint.h"
#include "train/trainer.h"

namespace lacuna {
namespace {

constexpr std::int64_t kClasses = 5, kPixels = 16, kSteps = 20;

/// linear - batch norm - relu - dropout - linear - relu.
class Block : public Module {
 public:
  Block(std::int64_t features, Init init)
      : first_(add_child<Linear>("first", features, 16, LinearOptions{.bias = false}, init)),
        norm_(add_child<BatchNorm>("norm", 16, BatchNormOptions{.relu = true}, init)),
        second_(add_child<Linear>("second", 16, 12, LinearOptions{.activation = Activation::relu}, init)) {}
  Var forward(const Var& x, ForwardContext& context) override {
    const Var hidden = dropout(norm_.forward(first_.forward(x, context), context), 0.2, context);
    return second_.forward(hidden, context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  Linear& first_;
  BatchNorm& norm_;
  Linear& second_;
};

class Network : public Module {
 public:
  Network(bool recompute, Init init)
      : recompute_(recompute),
        block_(add_child<Block>("block", 3 * kPixels, init)),
        last_(add_child<Linear>("last", 12, kClasses, LinearOptions{.prunable = false}, init)) {}
  Var forward(const Var& x, ForwardContext& context) override {
    const Var flat = context.operand(flatten(x, kPixels));
    const Var y = recompute_ ? forward_recomputed(block_, flat, context) : block_.forward(flat, context);
    return last_.forward(dropout(y, 0.1, context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  bool recompute_;
  Block& block_;
  Linear& last_;
};

/// Runs nothing while it records, and the function itself in each replay.
class LateRecorder : public Recorder {
 public:
  std::function<void()> record(const std::function<void()>& step) override { return step; }
};

/// Draws settings from a seed.
class Choices {
 public:
  explicit Choices(std::uint64_t seed) : seed_(seed) {}
  std::uint32_t below(std::uint32_t n) { return random_word({seed_, 5}, next_++) % n; }
  bool coin() { return below(2) == 0; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return *(values.begin() + below(static_cast<std::uint32_t>(values.size())));
  }

 private:
  std::uint64_t seed_;
  std::uint64_t next_ = 0;
};

struct Setting {
  TrainerConfig config;
  bool recompute = false;
  std::string text;

  explicit Setting(std::uint64_t seed) {
    Choices c(seed);
    TrainerConfig& t = config;
    t.seed = seed;
    switch (c.below(4)) {
      case 0:
        t.optimizer =
            SgdConfig{.lr = 0.05, .momentum = c.of({0.0, 0.9}), .dampening = c.of({0.0, 0.1}), .weight_decay = 1e-3};
        break;
      case 1:
        t.optimizer = AdamConfig{.lr = 3e-3, .weight_decay = 1e-3};
        break;
      case 2:
        t.optimizer = AdamWConfig{.lr = 3e-3};
        break;
      default:
        t.optimizer = AdafactorConfig{.beta1 = c.of({0.0, 0.9}),
                                      .factored = c.of({Factored::all, Factored::dense, Factored::none})};
    }
    t.schedule = CosineScheduleConfig{.warmup_steps = 3};
    PruningConfig& p = t.pruning;
    p.method = c.of<const char*>({"none", "static", "magnitude", "random", "one_shot", "set", "rigl", "snip", "acdc"});
    p.sparsity = c.of({0.75, 0.75, 0.9995});  // the last leaves most weights without an entry
    p.begin_step = p.method == "snip" ? 0 : 1 + c.below(4);
    p.end_step = 12 + c.below(6);
    p.frequency = 2 + c.below(3);
    p.score_batches = 1 + c.below(2);
    p.distribution = c.of<const char*>({"uniform", "erk", "global"});
    if (c.below(3) == 0) {
      p.granularity = "block";
      p.block = {2, 4};
      p.distribution = "uniform";
    }
    if (p.method == "magnitude" && c.coin()) {
      p.schedule = "staged";
      if (c.coin()) p.rewind_step = 1;
    }
    TrainingConfig& run = t.training;
    run.steps = kSteps;
    run.batch_size = 4 + 4 * c.below(2);
    run.accumulate = 1 + c.below(3);
    run.precision = c.below(3) == 0 ? TrainingPrecision::bf16 : TrainingPrecision::f32;
    run.clip_norm = c.of({0.0, 0.5});
    run.label_smoothing = c.of({0.0, 0.1});
    run.ema_decay = c.of({0.0, 0.9});
    run.eval_batch_size = 5;
    t.num_workers = static_cast<int>(c.below(3));
    recompute = c.coin();
    text = p.method + ", " + p.distribution + ", " + p.granularity + ", schedule " + p.schedule +
           (p.rewind_step ? ", rewound" : "") + ", optimizer " + std::to_string(t.optimizer.index()) + ", accumulate " +
           std::to_string(run.accumulate) + (run.precision == TrainingPrecision::bf16 ? ", bf16" : "") +
           (run.ema_decay > 0 ? ", ema" : "") + (recompute ? ", recomputed" : "");
  }
};

struct Training {
  Training(const Setting& setting, bool recompute, bool recorded)
      : random(setting.config.seed), network(recompute, Init{random}) {
    data.train = std::make_shared<SyntheticImages>(
        SyntheticImagesOptions{.num_examples = 52, .num_classes = kClasses, .extent = {3, 4, 4}});
    data.valid = std::make_shared<SyntheticImages>(
        SyntheticImagesOptions{.num_examples = 13, .num_classes = kClasses, .extent = {3, 4, 4}, .seed = 9});
    trainer = std::make_unique<Trainer>(setting.config, network, data, kCpu,
                                        recorded ? std::make_unique<LateRecorder>() : nullptr);
  }
  RandomStream random;
  Network network;
  DataSplits data;
  std::unique_ptr<Trainer> trainer;
};

void expect_same(const Trainer& a, const Trainer& b) {
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    EXPECT_TRUE(same_bits(*a.parameters()[i], *b.parameters()[i])) << a.parameters()[i]->name();
  for (std::size_t i = 0; i < a.buffers().size(); ++i)
    EXPECT_TRUE(same_bits(*a.buffers()[i].tensor, *b.buffers()[i].tensor)) << a.buffers()[i].name;
}

TEST(TrainerMixture, PiecesOfATrainingAreTheWhole) {
  const TemporaryDirectory directory;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Setting setting(seed);
    SCOPED_TRACE("setting " + std::to_string(seed) + ": " + setting.text);
    Training whole(setting, false, false);
    while (!whole.trainer->finished()) whole.trainer->advance();
    ASSERT_FALSE(whole.trainer->diverged());

    Choices c(seed + 1000);
    auto part = std::make_unique<Training>(setting, setting.recompute, true);
    while (!part->trainer->finished()) {
      Trainer& trainer = *part->trainer;
      trainer.advance();
      if (c.below(4) == 0) trainer.evaluate(*part->data.valid);
      if (c.below(4) == 0) trainer.read_metrics();
      if (c.below(6) != 0) continue;
      const std::filesystem::path path = directory / "checkpoint";
      const std::int64_t step = trainer.step();
      save_checkpoint(path, trainer.parameters(), trainer.buffers(), {});
      part = std::make_unique<Training>(setting, setting.recompute, c.coin());
      load_checkpoint(path, part->trainer->parameters(), part->trainer->buffers());
      part->trainer->resume_at(step, 0, 0);
    }
    expect_same(*whole.trainer, *part->trainer);
    EXPECT_EQ(whole.trainer->evaluate(*whole.data.valid).loss, part->trainer->evaluate(*part->data.valid).loss);
    if (setting.config.pruning.method != "none") {
      EXPECT_GT(whole.trainer->sparsity(), 0.5);
    }
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace lacuna
