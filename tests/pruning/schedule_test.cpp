// Schedules against values computed by hand, and the conventions where tools differ.
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <tuple>

#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

PruningConfig config_of(const std::string& schedule, std::int64_t begin = 100, std::int64_t end = 300) {
  PruningConfig c;
  c.method = "magnitude";
  c.schedule = schedule;
  c.initial_sparsity = 0.1;
  c.sparsity = 0.9;
  c.begin_step = begin;
  c.end_step = end;
  c.frequency = 50;
  return c;
}

std::set<std::int64_t> due_steps(const PruningConfig& c, std::int64_t until) {
  std::set<std::int64_t> due;
  for (std::int64_t t = 0; t < until; ++t)
    if (pruning_due(c, t)) due.insert(t);
  return due;
}

TEST(Schedule, HandComputedValues) {
  struct Case {
    const char* schedule;
    double quarter, half;  // at steps 150 and 200 of 100..300
  };
  // With r = 3/4 and 1/2 left: 0.9 - 0.8 r^3, r^2.5, r, (1 + cos(pi (1 - r))) / 2.
  const Case cases[] = {{"cubic", 0.5625, 0.8},
                        {"linear", 0.3, 0.5},
                        {"polynomial", 0.9 - 0.8 * 0.48713928962874675, 0.9 - 0.8 * 0.1767766952966369},
                        {"cosine", 0.9 - 0.8 * 0.8535533905932737, 0.5}};
  for (const Case& item : cases) {
    PruningConfig c = config_of(item.schedule);
    c.exponent = 2.5;
    EXPECT_EQ(target_sparsity(c, 99), 0) << item.schedule;
    EXPECT_EQ(target_sparsity(c, 100), 0.1) << item.schedule;
    EXPECT_NEAR(target_sparsity(c, 150), item.quarter, 1e-15) << item.schedule;
    EXPECT_NEAR(target_sparsity(c, 200), item.half, 1e-15) << item.schedule;
    EXPECT_LT(target_sparsity(c, 299), 0.9) << item.schedule;
    EXPECT_EQ(target_sparsity(c, 300), 0.9) << item.schedule;  // without rounding
    EXPECT_EQ(target_sparsity(c, 9999), 0.9) << item.schedule;
    EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{100, 150, 200, 250, 300})) << item.schedule;
    EXPECT_EQ(last_pruning_step(c), 300);
  }
  for (const char* at_once : {"constant", "one_shot"}) {
    const PruningConfig c = config_of(at_once);
    EXPECT_EQ(target_sparsity(c, 99), 0);
    EXPECT_EQ(target_sparsity(c, 100), 0.9);
    EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{100}));
  }
}

TEST(Schedule, StagedRemovesTheSameShareEachTime) {
  PruningConfig c = config_of("staged");
  c.initial_sparsity = 0;
  c.sparsity = 1 - 1.0 / 32;  // five stages, each leaves a half
  for (int stage = 1; stage <= 5; ++stage)
    EXPECT_NEAR(target_sparsity(c, 100 + 50 * (stage - 1)), 1 - std::pow(0.5, stage), 1e-15) << stage;
  EXPECT_EQ(target_sparsity(c, 300), c.sparsity);
  EXPECT_EQ(target_sparsity(c, 149), target_sparsity(c, 100)) << "constant between stages";
  c.end_step = 310;  // a sixth stage, off the grid
  EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{100, 150, 200, 250, 300, 310}));
  EXPECT_EQ(target_sparsity(c, 310), c.sparsity);
  EXPECT_NEAR(target_sparsity(c, 300), 1 - std::pow(1.0 / 32, 5.0 / 6), 1e-15);
}

TEST(Schedule, Conventions) {
  PruningConfig c = config_of("cubic", 30, 95);
  c.initial_sparsity = 0;
  c.frequency = 20;
  EXPECT_EQ(due_steps(c, 200), (std::set<std::int64_t>{30, 50, 70, 90, 95}));
  c.convention = "tfmot";  // the grid alone
  EXPECT_EQ(due_steps(c, 200), (std::set<std::int64_t>{30, 50, 70, 90}));
  EXPECT_EQ(last_pruning_step(c), 90);
  c.convention = "jaxpruner";  // steps that frequency divides, evaluated at t + 1
  EXPECT_EQ(due_steps(c, 200), (std::set<std::int64_t>{40, 60, 80}));
  EXPECT_EQ(last_pruning_step(c), 80);
  EXPECT_NEAR(target_sparsity(c, 40), 0.9 * (1 - std::pow(54.0 / 65, 3)), 1e-15);
  c.convention = "zhu_gupta";
  EXPECT_NEAR(target_sparsity(c, 40), 0.9 * (1 - std::pow(55.0 / 65, 3)), 1e-15);
}

// begin 30, end 90, every 20 (jaxpruner: steps that 10 divides), from 0 to 0.9, cubic: each tool's own values at the first
// update, between and at the last. Of 60 steps: t / 60 are gone at t under the first two, (t + 1) / 60 under the third.
TEST(Schedule, ConventionsAtBeginBetweenAndEnd) {
  PruningConfig c = config_of("cubic", 30, 90);
  c.initial_sparsity = 0;
  c.frequency = 20;
  for (const char* convention : {"zhu_gupta", "tfmot"}) {
    c.convention = convention;
    EXPECT_EQ(due_steps(c, 200), (std::set<std::int64_t>{30, 50, 70, 90}));
    EXPECT_EQ(target_sparsity(c, 29), 0) << convention;
    EXPECT_EQ(target_sparsity(c, 30), 0) << convention;
    EXPECT_NEAR(target_sparsity(c, 50), 0.9 * (1 - 8.0 / 27), 1e-15) << convention;
    EXPECT_NEAR(target_sparsity(c, 70), 0.9 * (1 - 1.0 / 27), 1e-15) << convention;
    EXPECT_EQ(target_sparsity(c, 90), 0.9) << convention;
  }
  c.convention = "jaxpruner";
  c.frequency = 10;
  EXPECT_EQ(due_steps(c, 200), (std::set<std::int64_t>{30, 40, 50, 60, 70, 80, 90}));
  EXPECT_EQ(target_sparsity(c, 29), 0);
  EXPECT_NEAR(target_sparsity(c, 30), 0.9 * (1 - std::pow(59.0 / 60, 3)), 1e-15);
  EXPECT_NEAR(target_sparsity(c, 59), 0.9 * (1 - 1.0 / 8), 1e-15);
  EXPECT_LT(target_sparsity(c, 88), 0.9);
  EXPECT_EQ(target_sparsity(c, 89), 0.9) << "a step early";
  EXPECT_EQ(target_sparsity(c, 90), 0.9);
}

TEST(Schedule, DropFractionFallsFromBeginToEnd) {
  PruningConfig c;
  c.method = "rigl";
  c.drop_fraction = 0.4;
  c.begin_step = 1000;
  c.end_step = 3000;
  for (const auto& [decay, between, end] :
       {std::tuple{"cosine", 0.2, 0.0}, std::tuple{"linear", 0.2, 0.0}, std::tuple{"constant", 0.4, 0.4}}) {
    c.drop_decay = decay;
    EXPECT_DOUBLE_EQ(drop_fraction(c, 1000), 0.4) << decay;
    EXPECT_NEAR(drop_fraction(c, 2000), between, 1e-15) << decay;
    EXPECT_NEAR(drop_fraction(c, 3000), end, 1e-16) << decay;
  }
}

TEST(Schedule, DropFraction) {
  PruningConfig c;
  c.method = "rigl";
  c.drop_fraction = 0.3;
  c.end_step = 75000;
  EXPECT_DOUBLE_EQ(drop_fraction(c, 0), 0.3);
  EXPECT_DOUBLE_EQ(drop_fraction(c, 37500), 0.15);
  EXPECT_NEAR(drop_fraction(c, 25000), 0.225, 1e-15);  // 0.15 (1 + cos 60 degrees)
  EXPECT_NEAR(drop_fraction(c, 75000), 0, 1e-16);
  c.drop_decay = "linear";
  EXPECT_NEAR(drop_fraction(c, 25000), 0.2, 1e-15);
  EXPECT_EQ(drop_fraction(c, 75000), 0);
  c.drop_decay = "constant";
  EXPECT_EQ(drop_fraction(c, 60000), 0.3);
}

TEST(Schedule, DynamicMethodsStartSparseAndStopBeforeTheEnd) {
  for (const char* method : {"set", "rigl"}) {
    PruningConfig c;
    c.method = method;
    c.begin_step = 0;
    c.end_step = 300;
    c.frequency = 100;
    EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{0, 100, 200}));
    EXPECT_EQ(last_pruning_step(c), 200);
    c.begin_step = 150;
    EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{0, 150, 250}));
    EXPECT_EQ(target_sparsity(c, 0), 0.9);
  }
}

TEST(Schedule, AcdcAlternatesAndEndsCompressed) {
  PruningConfig c;
  c.method = "acdc";
  c.begin_step = 10;
  c.frequency = 5;
  c.dense_steps = 3;
  c.end_step = 30;
  std::string phases;
  for (std::int64_t t = 0; t < 40; ++t) phases += is_compressed(c, t) ? 'c' : 'd';
  EXPECT_EQ(phases, "ddddddddddcccccdddcccccdddcccccccccccccc");
  EXPECT_EQ(due_steps(c, 60), (std::set<std::int64_t>{10, 15, 18, 23, 26}));
  EXPECT_EQ(last_pruning_step(c), 26);
}

TEST(Schedule, SparseFromSkipsWhatIsBelowIt) {
  PruningConfig c = config_of("linear", 0, 400);
  c.initial_sparsity = 0;
  c.sparse_from = 0.5;
  EXPECT_EQ(due_steps(c, 500), (std::set<std::int64_t>{250, 300, 350, 400}));
  EXPECT_EQ(target_sparsity(c, 200), 0) << "dense until then";
  EXPECT_EQ(target_sparsity(c, 400), 0.9);
}

TEST(Schedule, EpochsBecomeSteps) {
  PruningConfig c = config_of("cubic", 0, 0);
  c.begin_epoch = 2;
  c.end_epoch = 10.5;
  c.frequency_epochs = 0.001;
  c = in_steps(c, 39.5);
  EXPECT_EQ(c.begin_step, 79);
  EXPECT_EQ(c.end_step, 415);
  EXPECT_EQ(c.frequency, 1);
  EXPECT_FALSE(c.end_epoch.has_value());
}

}  // namespace
}  // namespace lacuna
