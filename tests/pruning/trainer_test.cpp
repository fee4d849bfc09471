// Methods driven through the trainer: resuming at any step gives the same bits; warm starts; given patterns; epochs.
#include "train/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/pointwise.h"
#include "data/synthetic.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "layers/norm.h"
#include "pruning/sparsity_schedule.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

constexpr std::int64_t kClasses = 5, kPixels = 16;

/// linear - batch norm - relu - linear - linear: buffers that a scoring pass must not touch, and three weights.
class Network : public Module {
 public:
  Network(Init init, bool with_norm) : with_norm_(with_norm) {
    first_ = &add_child<Linear>("first", 3 * kPixels, 12, LinearOptions{.bias = false}, init);
    norm_ = &add_child<BatchNorm>("norm", 12, BatchNormOptions{.relu = true}, init);
    second_ = &add_child<Linear>("second", 12, 8, LinearOptions{.activation = Activation::relu}, init);
    last_ = &add_child<Linear>("last", 8, kClasses, LinearOptions{.prunable = false}, init);
  }
  Var forward(const Var& x, ForwardContext& context) override {
    const Var linear = first_->forward(flatten(x, kPixels), context);
    const Var y = with_norm_ ? norm_->forward(linear, context) : relu(linear);
    return last_->forward(second_->forward(y, context), context);
  }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }

 private:
  Linear *first_ = nullptr, *second_ = nullptr, *last_ = nullptr;
  BatchNorm* norm_ = nullptr;
  bool with_norm_;
};

struct Training {
  explicit Training(const TrainerConfig& config, bool with_norm = true)
      : random(config.seed), network(Init{random}, with_norm) {
    DataSplits data;
    data.train = std::make_shared<SyntheticImages>(
        SyntheticImagesOptions{.num_examples = 64, .num_classes = kClasses, .extent = {3, 4, 4}});
    trainer = std::make_unique<Trainer>(config, network, data, kCpu);
  }
  RandomStream random;
  Network network;
  std::unique_ptr<Trainer> trainer;
};

TrainerConfig config_of(const std::string& method) {
  TrainerConfig c;
  c.seed = 3;
  c.optimizer = AdamWConfig{.lr = 3e-3};
  c.pruning.method = method;
  c.pruning.distribution = "erk";
  c.pruning.sparsity = 0.8;
  c.pruning.begin_step = 3;
  c.pruning.end_step = 17;
  c.pruning.frequency = 4;
  c.pruning.score_batches = 2;
  c.training.steps = 21;
  c.training.batch_size = 8;
  c.training.accumulate = 2;
  c.training.clip_norm = 1;
  c.training.ema_decay = 0.9;
  c.num_workers = 0;
  return c;
}

void expect_same_bits(const Trainer& a, const Trainer& b, const std::string& what) {
  for (std::size_t i = 0; i < a.parameters().size(); ++i)
    EXPECT_TRUE(same_bits(*a.parameters()[i], *b.parameters()[i])) << what << ": " << a.parameters()[i]->name();
  for (std::size_t i = 0; i < a.buffers().size(); ++i)
    EXPECT_TRUE(same_bits(*a.buffers()[i].tensor, *b.buffers()[i].tensor)) << what << ": " << a.buffers()[i].name;
}

void expect_resumes_anywhere(const TrainerConfig& config) {
  const TemporaryDirectory directory;
  Training whole(config);
  const auto path = [&](std::int64_t step) { return directory / ("step" + std::to_string(step)); };
  int on_an_update = 0;
  for (std::int64_t step = 0; step < config.training.steps; ++step) {
    save_checkpoint(path(step), whole.trainer->parameters(), whole.trainer->buffers(), {});
    whole.trainer->advance();
  }
  for (std::int64_t step = 1; step < config.training.steps; ++step) {
    on_an_update += pruning_due(config.pruning, step);
    Training resumed(config);
    load_checkpoint(path(step), resumed.trainer->parameters(), resumed.trainer->buffers());
    resumed.trainer->resume_at(step, 0, 0);
    while (!resumed.trainer->finished()) resumed.trainer->advance();
    expect_same_bits(*whole.trainer, *resumed.trainer, "resumed at " + std::to_string(step));
    ASSERT_FALSE(::testing::Test::HasFailure());
  }
  if (config.pruning.method != "static") {
    EXPECT_GE(on_an_update, 1);
  }
  EXPECT_NEAR(whole.trainer->sparsity(), config.pruning.sparsity, 1e-2);
}

class Resume : public ::testing::TestWithParam<const char*> {};

TEST_P(Resume, AtAnyStepGivesTheSameBits) { expect_resumes_anywhere(config_of(GetParam())); }

TEST_P(Resume, OfWholeBlocksToo) {
  TrainerConfig c = config_of(GetParam());
  c.pruning.granularity = "block";
  c.pruning.block = {2, 4};
  c.pruning.distribution = "uniform";
  c.training.accumulate = 1;
  c.pruning.sparsity = 0.75;
  expect_resumes_anywhere(c);
}

INSTANTIATE_TEST_SUITE_P(Methods, Resume,
                         ::testing::Values("static", "magnitude", "random", "one_shot", "set", "rigl", "snip", "acdc"),
                         [](const auto& param) { return std::string(param.param); });

TEST_P(Resume, UnderAdafactor) {
  TrainerConfig c = config_of(GetParam());
  for (const Factored factored : {Factored::all, Factored::dense}) {
    c.optimizer = AdafactorConfig{.lr = 0.05, .beta1 = 0.9, .factored = factored};
    expect_resumes_anywhere(c);
  }
}

TEST(ResumeStaged, WithRewinding) {
  TrainerConfig c = config_of("magnitude");
  c.pruning.schedule = "staged";
  c.pruning.rewind_step = 2;
  expect_resumes_anywhere(c);
}

TEST(Accumulation, RigLGrowsByTheSumOverMicroBatches) {
  // Two micro-batches of 8 or one batch of 16: the same examples, so but for rounding the same gradient.
  TrainerConfig c = config_of("rigl");
  c.training.ema_decay = 0;
  c.training.clip_norm = 0;
  c.optimizer = SgdConfig{.lr = 0.05, .momentum = 0};
  c.pruning.drop_fraction = 0.5;
  Training two(c, false);
  c.training.accumulate = 1;
  c.training.batch_size = 16;
  Training one(c, false);
  const TopologyPtr start = [&] {
    one.trainer->advance();
    two.trainer->advance();
    return one.trainer->parameters()[0]->topology();
  }();
  for (int i = 0; i < 7; ++i) {
    one.trainer->advance();
    two.trainer->advance();
  }
  for (std::size_t i = 0; i < one.trainer->parameters().size(); ++i) {
    const Parameter &p = *one.trainer->parameters()[i], &q = *two.trainer->parameters()[i];
    if (p.is_sparse()) {
      EXPECT_TRUE(p.topology()->same_pattern(*q.topology())) << p.name();
    }
  }
  EXPECT_FALSE(start->same_pattern(*one.trainer->parameters()[0]->topology()));
}

TEST(WarmStart, FromDenseAndFromSparseCheckpoints) {
  const TemporaryDirectory directory;
  TrainerConfig c = config_of("one_shot");
  c.pruning.distribution = "uniform";
  Training first(c);
  const auto save = [&](const char* name) {
    save_checkpoint(directory / name, first.trainer->parameters(), first.trainer->buffers(), {});
    return (directory / name).string();
  };
  first.trainer->advance();
  const std::string dense = save("dense");
  for (int i = 0; i < 5; ++i) first.trainer->advance();
  const std::string sparse = save("sparse");
  const auto value = [](const Training& t, std::size_t i) { return t.trainer->parameters()[i]->value(); };

  c.training.init_from = dense;
  const Training from_dense(c);
  EXPECT_FALSE(from_dense.trainer->parameters()[0]->is_sparse());
  EXPECT_TRUE(from_dense.trainer->parameters()[0]->slots().empty()) << "state begins anew";
  EXPECT_EQ(from_dense.trainer->step(), 0);

  c.training.init_from = sparse;
  c.pruning.method = "none";  // fine-tuning: the pattern stays
  Training fine_tuned(c);
  EXPECT_TRUE(same_bits(value(fine_tuned, 0), value(first, 0)));
  for (int i = 0; i < 3; ++i) fine_tuned.trainer->advance();
  EXPECT_TRUE(
      fine_tuned.trainer->parameters()[0]->topology()->same_pattern(*first.trainer->parameters()[0]->topology()));
  EXPECT_FALSE(same_bits(value(fine_tuned, 0), value(first, 0)));

  c.pruning.method = "one_shot";
  c.pruning.sparsity = 0.5;
  EXPECT_THROW(Training{c}, ConfigKeyError) << "sparser already than asked for";
  c.pruning.sparsity = 0.95;
  Training sparser(c);
  for (int i = 0; i < 5; ++i) sparser.trainer->advance();
  EXPECT_EQ(sparser.trainer->parameters()[0]->nnz(), kept_entries(0.95, 12 * 48));

  c.training.init_from.clear();
  c.pruning.method = "static";
  c.pruning.topology_from = sparse;
  Training given(c);
  given.trainer->advance();
  EXPECT_TRUE(given.trainer->parameters()[0]->topology()->same_pattern(*first.trainer->parameters()[0]->topology()));
  c.pruning.topology_from = dense;
  EXPECT_THROW(Training{c}, ConfigKeyError);
  c.pruning.topology_from = (directory / "nothing").string();
  EXPECT_THROW(Training{c}, CheckpointError);
}

TEST(WarmStart, DynamicMethodsMoveOnFromThePatternTheyAreGiven) {
  const TemporaryDirectory directory;
  TrainerConfig c = config_of("one_shot");
  Training first(c);
  for (int i = 0; i < 5; ++i) first.trainer->advance();
  save_checkpoint(directory / "sparse", first.trainer->parameters(), first.trainer->buffers(), {});
  for (const char* method : {"set", "rigl"}) {
    c.pruning.method = method;
    c.training.init_from = (directory / "sparse").string();
    Training t(c);
    t.trainer->advance();
    EXPECT_TRUE(t.trainer->parameters()[0]->topology()->same_pattern(*first.trainer->parameters()[0]->topology()));
    for (int i = 0; i < 8; ++i) t.trainer->advance();
    EXPECT_FALSE(t.trainer->parameters()[0]->topology()->same_pattern(*first.trainer->parameters()[0]->topology()));
    EXPECT_EQ(t.trainer->parameters()[0]->nnz(), first.trainer->parameters()[0]->nnz());
  }
}

TEST(Export, DenseValueHasZerosWhereNothingIsStored) {
  TrainerConfig c = config_of("static");
  Training t(c);
  t.trainer->advance();
  const Parameter& p = *t.trainer->parameters()[0];
  ASSERT_TRUE(p.is_sparse());
  EXPECT_EQ(p.dense_value().shape(), p.shape());
  const std::vector<float> dense = p.dense_value().to_vector<float>();
  EXPECT_EQ(std::count_if(dense.begin(), dense.end(), [](float x) { return x != 0; }), p.nnz());
  EXPECT_TRUE(same_bits(sample(p.dense_value(), p.topology()).values, p.value()));
}

TEST(Epochs, AreStepsOfThisTrainingSet) {
  TrainerConfig c = config_of("magnitude");
  c.pruning.begin_step = c.pruning.end_step = 0;
  c.pruning.begin_epoch = 0.5;  // 64 examples in batches of 8, two per step: four steps an epoch
  c.pruning.end_epoch = 4;
  c.pruning.frequency_epochs = 1;
  const Training t(c);
  EXPECT_EQ(t.trainer->pruning().begin_step, 2);
  EXPECT_EQ(t.trainer->pruning().end_step, 16);
  EXPECT_EQ(t.trainer->pruning().frequency, 4);
  c.pruning.end_epoch = 6;
  EXPECT_THROW(Training{c}, ConfigKeyError) << "past the last step";
}

TEST(Snip, ScoringLeavesBuffersAndDataAlone) {
  TrainerConfig c = config_of("snip");
  c.pruning.begin_step = 0;
  c.pruning.score_batches = 3;
  Training snip(c);
  c.pruning.method = "static";
  Training fixed(c);
  const auto statistics = [](const Training& t) { return t.trainer->buffers()[0].tensor->to_vector<float>(); };
  const std::vector<float> before = statistics(snip);
  snip.trainer->advance();
  fixed.trainer->advance();
  EXPECT_NE(statistics(snip), before);
  // Momentum of running statistics: had three more batches passed, they would be further from the start.
  double far = 0, near = 0;
  for (std::size_t i = 0; i < before.size(); ++i) {
    far += std::abs(statistics(snip)[i] - before[i]);
    near += std::abs(statistics(fixed)[i] - before[i]);
  }
  EXPECT_LT(far, 2 * near);
}

}  // namespace
}  // namespace lacuna
