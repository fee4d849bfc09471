// The plan's peak against the allocator's, over the first steps of a run of every shipped config at reduced size.
#include "app/memory_plan.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

namespace lacuna {
namespace {

namespace fs = std::filesystem;

constexpr double kTolerance = 0.1;
constexpr std::int64_t kSteps = 9, kFirstPruned = 3;

std::vector<std::string> shipped_configs() {
  std::vector<std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator("configs"))
    if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

/// Small sizes, synthetic data of the same kind, and a pruning schedule that ends within kSteps.
std::vector<std::string> reductions(const std::string& file, const RunConfig& c) {
  std::vector<std::string> o{"device=cpu",
                             "data.path=''",
                             "data.valid_path=''",
                             "data.test_path=''",
                             "data.num_workers=0",
                             "data.num_examples=64",
                             "training.batch_size=4",
                             "training.epochs=0",
                             fmt::format("training.steps={}", kSteps),
                             "schedule={type: constant}"};
  if (std::holds_alternative<TransformerConfig>(c.model)) {
    for (const char* key : {"data.type=synthetic_tokens", "data.num_classes=256", "data.sequence_length=96",
                            "model.layers=3", "model.hidden=64", "model.filter=256", "model.heads=4"})
      o.push_back(key);
    if (std::holds_alternative<BandAndRandomConfig>(std::get<TransformerConfig>(c.model).attention))
      o.insert(o.end(), {"model.attention.band=16", "model.attention.off_band_sparsity=0.9"});
  } else {
    o.push_back("data.type=synthetic");
    if (std::holds_alternative<MobilenetConfig>(c.model))
      o.insert(o.end(), {"model.width=0.25", "model.num_classes=0"});
    o.push_back(file.find("imagenet") != std::string::npos ? "data.image_size=96" : "data.image_size=32");
  }
  if (c.pruning.method != "none")
    for (const std::string& key : {fmt::format("pruning.begin_step={}", kFirstPruned),
                                   std::string("pruning.end_step=7"), std::string("pruning.frequency=2")})
      o.push_back(key);
  return o;
}

struct Measured {
  std::size_t dense = 0;    // a dense step's peak, the optimizer's state there
  std::size_t final = 0;    // the last step's
  std::size_t largest = 0;  // of all
  bool pruned = false;
};

Measured measure(const RunConfig& config) {
  Session session = open_session(config);
  const std::unique_ptr<Trainer> trainer = make_trainer(session);
  Measured m;
  for (std::int64_t step = 0; step < kSteps; ++step) {
    reset_peak_memory(kCpu);
    trainer->advance();
    const std::size_t peak = memory_stats(kCpu).peak_bytes;
    if (step == 1 && trainer->sparsity() == 0) m.dense = peak;
    m.final = peak;
    m.largest = std::max(m.largest, peak);
  }
  m.pruned = trainer->sparsity() > 0;
  EXPECT_FALSE(trainer->diverged());
  return m;
}

MemoryPlan plan(const RunConfig& config, int num_workers = 0) {
  Session session = open_session(config);
  session.config.data.num_workers = 0;
  const std::unique_ptr<Trainer> trainer = make_trainer(session);
  return plan_memory(session, *trainer, num_workers);
}

double off(std::size_t planned, std::size_t measured) {
  return static_cast<double>(planned) / static_cast<double>(measured) - 1;
}

void expect_agreement(const RunConfig& config, const std::string& what) {
  const std::size_t before = memory_stats(kCpu).live_bytes;
  const MemoryPlan planned = plan(config);
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before) << what << ": the dry run left something behind";
  const Measured measured = measure(config);
  fmt::print("{:<62} planned {:>9} measured {:>9} ({:+.1f} %); at the end {:+.1f} %\n", what, planned.peak(),
             measured.largest, 100 * off(planned.peak(), measured.largest),
             100 * off(planned.phases.back().memory.peak, measured.final));
  EXPECT_LE(std::abs(off(planned.peak(), measured.largest)), kTolerance) << what;
  EXPECT_LE(std::abs(off(planned.phases.back().memory.peak, measured.final)), kTolerance) << what << ", last step";
  if (measured.dense > 0) {
    EXPECT_LE(std::abs(off(planned.phases.front().memory.peak, measured.dense)), kTolerance) << what << ", dense step";
  }
  EXPECT_EQ(measured.pruned, config.pruning.method != "none") << what;
}

class MemoryPlanOf : public ::testing::TestWithParam<std::string> {};

TEST_P(MemoryPlanOf, IsWithinATenthOfWhatIsMeasured) {
  const RunConfig whole = load_run_config(GetParam());
  for (const bool recompute : {false, true}) {
    std::vector<std::string> overrides = reductions(GetParam(), whole);
    if (recompute && std::holds_alternative<MlpConfig>(whole.model)) continue;
    if (recompute) overrides.push_back("model.recompute=true");
    expect_agreement(load_run_config(GetParam(), overrides),
                     fs::path(GetParam()).stem().string() + (recompute ? ", recomputed" : ""));
  }
  std::vector<std::string> overrides = reductions(GetParam(), whole);
  overrides.push_back("training.precision=bf16");
  expect_agreement(load_run_config(GetParam(), overrides), fs::path(GetParam()).stem().string() + ", bf16");
}

INSTANTIATE_TEST_SUITE_P(Shipped, MemoryPlanOf, ::testing::ValuesIn(shipped_configs()),
                         [](const auto& param) { return fs::path(param.param).stem().string(); });

constexpr const char* kSmall = R"(name: small
device: cpu
model: {type: mlp, hidden: [256, 200]}
data: {type: synthetic, num_examples: 256, num_workers: 0}
optimizer: {type: adamw}
training: {steps: 9, batch_size: 16}
)";

TEST(MemoryPlan, HoldsForEveryMethodAndOptimizer) {
  for (const std::string method : {"static", "set", "rigl", "one_shot", "magnitude", "random"})
    for (const std::string optimizer : {"{type: adafactor, beta1: 0.9}", "{type: sgd, momentum: 0}"}) {
      std::vector<std::string> overrides{"pruning.method=" + method, "pruning.sparsity=0.8", "optimizer=" + optimizer,
                                         "training.ema_decay=0.9", "training.accumulate=2"};
      if (method != "static") overrides.push_back("pruning.begin_step=3");
      if (method != "static" && method != "one_shot")
        overrides.insert(overrides.end(), {"pruning.end_step=7", "pruning.frequency=2"});
      const RunConfig config = parse_run_config(kSmall, "small.yaml", overrides);
      const MemoryPlan planned = plan(config);
      const Measured measured = measure(config);
      const double error = off(planned.peak(), measured.largest);
      fmt::print("{:<10} {:<30} planned {:>9} measured {:>9} ({:+.1f} %)\n", method, optimizer, planned.peak(),
                 measured.largest, 100 * error);
      EXPECT_LE(std::abs(error), kTolerance) << method << ", " << optimizer;
    }
}

TEST(MemoryPlan, CountsTheBatchesThatALoaderHolds) {
  const RunConfig config = parse_run_config(kSmall, "small.yaml", {"data.num_workers=2", "data.prefetch=6"});
  const MemoryPlan planned = plan(config, 2);
  EXPECT_EQ(planned.ready_batches, 6u * 4 * (3 * 32 * 32 * 16 + 16));
  EXPECT_EQ(planned.peak(), planned.largest().memory.peak + planned.ready_batches);
}

TEST(MemoryPlan, NamesWhatIsAliveAtThePeak) {
  const MemoryPlan planned = plan(parse_run_config(kSmall, "small.yaml", {"training.batch_size=256"}));
  const PeakMemory& memory = planned.largest().memory;
  ASSERT_FALSE(memory.blocks.empty());
  std::size_t made = 0;
  for (const MemoryBlocks& blocks : memory.blocks) {
    made += blocks.bytes;
    EXPECT_GT(blocks.count, 0);
  }
  EXPECT_LE(memory.blocks.back().bytes, memory.blocks.front().bytes);
  EXPECT_NEAR(static_cast<double>(made), static_cast<double>(memory.peak - memory.before),
              0.02 * static_cast<double>(made));
}

TEST(MemoryPlan, ADryRunComputesNothingAndLeavesTheModelAlone) {
  const RunConfig config = parse_run_config(kSmall, "small.yaml", {});
  Session session = open_session(config);
  const std::unique_ptr<Trainer> trainer = make_trainer(session);
  trainer->advance();  // slots are there
  std::vector<std::vector<float>> before, after;
  const auto numbers = [&](std::vector<std::vector<float>>& into) {
    for (const Parameter* p : trainer->parameters()) {
      into.push_back(p->value().to_vector<float>());
      for (const auto& [name, slot] : p->slots()) into.push_back(slot.to_vector<float>());
    }
  };
  numbers(before);
  peak_of_step(*session.model, trainer_config(config), session.shape.inputs(16), 16, false, kCpu);
  numbers(after);
  EXPECT_EQ(before, after);
  for (const Parameter* p : trainer->parameters()) EXPECT_FALSE(p->value().is_dry());
  trainer->advance();
  EXPECT_FALSE(trainer->diverged());
  // Far more than any machine has: nothing is allocated, and no limit stops it.
  const PeakMemory large =
      peak_of_step(*session.model, trainer_config(config), session.shape.inputs(1 << 20), 1 << 20, false, kCpu);
  EXPECT_GT(large.peak, std::size_t{12} << 30);
}

}  // namespace
}  // namespace lacuna
