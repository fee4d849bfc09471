#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "pruning/distribution.h"
#include "pruning/glob.h"
#include "pruning/pruner.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

Parameter make_weight(const std::string& name, std::int64_t m, std::int64_t k, std::uint64_t seed,
                      DType dtype = DType::f32) {
  Parameter p(name, random_normal({m, k}, 0, 1, {seed, 0}, dtype, kCpu));
  p.prunable = true;
  return p;
}

TEST(Glob, Matches) {
  EXPECT_TRUE(glob_matches("**", "a.b.c"));
  EXPECT_TRUE(glob_matches("blocks.*.attention.**", "blocks.0.attention.query.weight"));
  EXPECT_FALSE(glob_matches("blocks.*.weight", "blocks.0.attention.weight"));
  EXPECT_TRUE(glob_matches("a?c", "abc"));
  EXPECT_FALSE(glob_matches("a?c", "a.c"));
  EXPECT_FALSE(glob_matches("", "a"));
}

TEST(CubicSchedule, HandComputedValues) {
  EXPECT_DOUBLE_EQ(cubic_sparsity(100, 100, 300, 0.1, 0.9), 0.1);
  EXPECT_DOUBLE_EQ(cubic_sparsity(200, 100, 300, 0.1, 0.9), 0.9 - 0.8 * 0.125);
  EXPECT_EQ(cubic_sparsity(300, 100, 300, 0.1, 0.9), 0.9);  // exact
  EXPECT_EQ(cubic_sparsity(9999, 100, 300, 0.1, 0.9), 0.9);
}

TEST(CubicSchedule, PrunesAtItsEndEvenOffTheGrid) {
  PruningConfig c;
  c.method = "magnitude";
  c.begin_step = 10;
  c.end_step = 35;
  c.frequency = 10;
  std::set<std::int64_t> due;
  for (std::int64_t t = 0; t < 60; ++t)
    if (pruning_due(c, t)) due.insert(t);
  EXPECT_EQ(due, (std::set<std::int64_t>{10, 20, 30, 35}));
}

TEST(Pruner, KeepsExactlyTheLargest) {
  Parameter p = make_weight("w", 7, 9, 3);
  const std::vector<float> before = p.value().to_vector<float>();
  prune_parameter(p, magnitude_score()(p), 13);
  ASSERT_TRUE(p.is_sparse());
  EXPECT_EQ(p.nnz(), 13);
  std::vector<float> sorted = before;
  std::sort(sorted.begin(), sorted.end(), [](float a, float b) { return std::abs(a) > std::abs(b); });
  const std::vector<float> dense = densify(data(p.sparse())).to_vector<float>();
  for (std::size_t i = 0; i < dense.size(); ++i)
    EXPECT_EQ(dense[i], std::abs(before[i]) >= std::abs(sorted[12]) ? before[i] : 0.0f) << i;
}

TEST(Pruner, BreaksTiesByIndexSoTheCountIsExact) {
  Parameter p("w", Tensor::full({4, 5}, 1.0, DType::f32));
  prune_parameter(p, magnitude_score()(p), 7);
  EXPECT_EQ(p.topology()->row_offsets().to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 5, 7, 7, 7}));
}

TEST(Pruner, SlotsFollowTheirWeightsAndGradientsAreDropped) {
  Parameter p = make_weight("w", 6, 6, 5);
  p.slots()["adam_m"] = p.value().clone();  // a slot equal to the value must stay equal to it
  p.var().set_grad(Tensor::zeros({6, 6}, DType::f32));
  for (std::int64_t kept : {20, 11, 3, 0}) {
    prune_parameter(p, magnitude_score()(p), kept);
    EXPECT_EQ(p.nnz(), kept);
    EXPECT_EQ(p.slots().at("adam_m").to_vector<float>(), p.value().to_vector<float>());
    EXPECT_FALSE(p.grad().defined());
  }
}

TEST(Pruner, GlobalMeetsTheTotalAndSharesOneThreshold) {
  Parameter a = make_weight("a", 10, 10, 1), b("b", random_normal({20, 10}, 0, 0.1, {2, 0}, DType::f32, kCpu));
  prune_globally({&a, &b}, magnitude_score(), 90);
  EXPECT_EQ(a.nnz() + b.nnz(), 90);
  EXPECT_GT(a.nnz(), b.nnz());  // a's weights are ten times larger
}

TEST(Distribution, ErkByHand) {
  // eps solved by hand: dims sum to 30, 20 and 8. 58 of 58 + 0: eps = 1.
  EXPECT_EQ(erdos_renyi_kernel_counts({{{10, 20}, 200}, {{10, 10}, 100}, {{4, 4}, 16}}, 58),
            (std::vector<std::int64_t>{30, 20, 8}));
  // eps = 150 / 58 = 2.586 would give the 4 x 4 layer 20.7 of 16: it is full, and eps = 134 / 50 = 2.68 for the others.
  EXPECT_EQ(erdos_renyi_kernel_counts({{{10, 20}, 200}, {{10, 10}, 100}, {{4, 4}, 16}}, 150),
            (std::vector<std::int64_t>{80, 54, 16}));
}

TEST(Distribution, ErkMeetsEveryTotalExactlyWithinLimits) {
  const std::vector<LayerShare> layers = {
      {{64, 3, 3, 3}, 1728}, {{7, 1}, 5}, {{32, 128}, 900}, {{128, 128}, 16384}, {{5, 5}, 0}};
  for (std::int64_t total = 0; total <= 1728 + 5 + 900 + 16384 + 50; total += 7) {
    const auto counts = erdos_renyi_kernel_counts(layers, total);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      EXPECT_GE(counts[i], 0);
      EXPECT_LE(counts[i], layers[i].limit);
      sum += counts[i];
    }
    EXPECT_EQ(sum, std::min<std::int64_t>(total, 1728 + 5 + 900 + 16384)) << total;
  }
  EXPECT_TRUE(erdos_renyi_kernel_counts({}, 10).empty());
}

TEST(Pruner, ErkMeetsTheTotalAtEveryUpdate) {
  Parameter a = make_weight("a", 32, 16, 1), b = make_weight("b", 8, 8, 2), d = make_weight("d", 64, 64, 3);
  PruningConfig c;
  c.method = "magnitude";
  c.distribution = "erk";
  c.begin_step = 2;
  c.end_step = 40;
  c.frequency = 1;
  Pruner pruner(c, {&a, &b, &d}, 7);
  for (std::int64_t t = 0; t < 45; ++t) {
    if (!pruner.step(t)) continue;
    EXPECT_EQ(a.nnz() + b.nnz() + d.nnz(), kept_entries(target_sparsity(c, t), 512 + 64 + 4096)) << t;
  }
  EXPECT_GT(1.0 * b.nnz() / 64, 1.0 * a.nnz() / 512);  // the smaller, the denser
  EXPECT_GT(1.0 * a.nnz() / 512, 1.0 * d.nnz() / 4096);
}

TEST(Pruner, GradualReachesTheTargetAndStaysThere) {
  Parameter a = make_weight("a", 32, 16, 1), b = make_weight("b", 8, 8, 2);
  PruningConfig c;
  c.method = "magnitude";
  c.sparsity = 0.9;
  c.begin_step = 2;
  c.end_step = 21;
  c.frequency = 5;
  Pruner pruner(c, {&a, &b}, 7);
  double last = 0;
  for (std::int64_t t = 0; t < 40; ++t) {
    const bool pruned = pruner.step(t);
    EXPECT_EQ(pruned, pruning_due(c, t));
    EXPECT_GE(pruner.achieved_sparsity(), last);
    last = pruner.achieved_sparsity();
    if (pruned) {
      EXPECT_EQ(a.nnz(), kept_entries(target_sparsity(c, t), 512));
      EXPECT_EQ(b.nnz(), kept_entries(target_sparsity(c, t), 64));
    }
  }
  EXPECT_EQ(a.nnz(), 51);
  EXPECT_EQ(b.nnz(), 6);
}

TEST(Pruner, RandomIsAFunctionOfTheSeed) {
  PruningConfig c;
  c.method = "random";
  c.schedule = "one_shot";
  c.sparsity = 0.5;
  Parameter a = make_weight("w", 16, 16, 1), b = make_weight("w", 16, 16, 1), d = make_weight("w", 16, 16, 1);
  Pruner(c, {&a}, 7).step(0);
  Pruner(c, {&b}, 7).step(0);
  Pruner(c, {&d}, 8).step(0);
  EXPECT_EQ(a.nnz(), 128);
  EXPECT_TRUE(a.topology()->same_pattern(*b.topology()));
  EXPECT_FALSE(a.topology()->same_pattern(*d.topology()));
}

TEST(Pruner, RefusesGlobsThatMatchNothing) {
  Parameter a = make_weight("blocks.0.weight", 4, 4, 1);
  PruningConfig c;
  c.method = "magnitude";
  c.include = {"block.**"};
  EXPECT_THROW(Pruner(c, {&a}, 0), ConfigError);
  c.include = {"**"};
  c.exclude = {"blocks.**"};
  EXPECT_THROW(Pruner(c, {&a}, 0), ConfigError);
}

}  // namespace
}  // namespace lacuna
