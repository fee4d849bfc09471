// What must hold for every method x distribution x granularity: exact counts at every update, whole units, and the
// same topology for the same seed.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <memory>

#include "core/errors.h"
#include "pruning/distribution.h"
#include "pruning/sparsity_schedule.h"
#include "tests/pruning/tiny_training.h"
#include "train/sparsity_stats.h"

namespace lacuna {
namespace {

constexpr std::int64_t kInputs = 16, kHidden = 24, kClasses = 8;

PruningConfig config_of(const std::string& method, const std::string& distribution, const std::string& granularity) {
  PruningConfig c;
  c.method = method;
  c.distribution = distribution;
  c.granularity = granularity;
  c.sparsity = 0.75;
  c.begin_step = 4;
  c.end_step = 31;
  c.frequency = 5;
  if (granularity == "block") c.block = {4, 2};
  if (granularity == "vector") c.vector = 8;
  if (granularity == "n_m") c.n_m = {1, 4};
  return c;
}

/// Every stored unit is whole: its entries are all there. For n_m: each group holds as many as any other.
void expect_whole_units(const PruningGroup& g, const Parameter& p) {
  const Tensor dense = Tensor::full({p.nnz()}, 1.0, DType::f64);
  const TopologyPtr pattern = p.topology()->to(kCpu);
  if (g.granularity.is_n_m()) {
    const UnitGrid groups{p.shape()[0], p.shape()[1], 1, g.granularity.m};
    const std::vector<double> shares = unit_scores(dense, pattern, groups).to_vector<double>();
    for (const double share : shares) EXPECT_EQ(share, shares.front()) << "each group holds as many";
    return;
  }
  for (const double share : unit_scores(dense, pattern, g.granularity.grid(p.shape())).to_vector<double>())
    EXPECT_TRUE(std::isnan(share) || share == 1.0) << share;
}

/// Counts computed anew, from the schedule alone.
void expect_counts(const PruningGroup& g, double sparsity) {
  std::vector<LayerShare> layers;
  std::int64_t units = 0, stored = 0;
  for (const PruningTarget& t : g.targets) {
    const Shape& shape = t.parameter->shape();
    const UnitGrid grid = g.granularity.grid(shape);
    layers.push_back({shape, grid.count(), grid.unit_rows * grid.unit_cols});
    units += grid.count();
    stored += t.parameter->nnz() / (grid.unit_rows * grid.unit_cols);
  }
  const auto rounded = [&](std::int64_t n) { return std::llround((1 - sparsity) * static_cast<double>(n)); };
  const std::string& d = g.config.distribution;
  const bool shared = d == "er" || d == "erk",
             global = d == "global" && !is_dynamic(g.config) && g.config.method != "static";
  const std::vector<std::int64_t> erdos = erdos_renyi_kernel_counts(layers, rounded(units));
  if (shared || global) {
    EXPECT_EQ(stored, rounded(units)) << "the total";
    if (global) return;
  }
  for (std::size_t i = 0; i < g.targets.size(); ++i) {
    const Parameter& p = *g.targets[i].parameter;
    const std::int64_t entries = layers[i].unit;
    if (g.granularity.is_n_m())
      EXPECT_EQ(p.nnz(), p.shape().numel() / 4 * std::max<std::int64_t>(1, rounded(4)));
    else
      EXPECT_EQ(p.nnz(), entries * (shared ? erdos[i] : rounded(layers[i].limit)));
  }
}

/// What was asked for is the config's, whatever has been reached. Rows of layers of different width are the one unit in
/// which shares by layer do not add up to the entries asked for.
void expect_summary(const Pruner& pruner, const PruningConfig& c) {
  if (c.granularity == "channel" && c.distribution != "uniform") return;
  EXPECT_EQ(pruner.summary().substr(0, 44), "sparsity 0.7500 asked for, 0.7500 reached ov") << pruner.summary();
}

/// Trains under the config on `device`, twice: at every update counts are exact and units whole, and both end in equal bits.
std::unique_ptr<TinyTraining> expect_exact_counts(const PruningConfig& c, Device device) {
  SCOPED_TRACE(fmt::format("{} {} {} on {}", c.method, c.distribution, c.granularity, to_string(device)));
  validate(c, [](const std::string& key, const std::string& message) { ADD_FAILURE() << key << " " << message; });
  const auto make = [&] {
    return std::make_unique<TinyTraining>(c, kInputs, kHidden, kClasses, 5, AdamConfig{.lr = 3e-3}, DType::f32, device);
  };
  std::unique_ptr<TinyTraining> a = make(), twin = make();
  const Granularity& of = a->pruner->groups().front().granularity;
  EXPECT_EQ(a->network.parameters[0]->units, (PatternUnits{of.unit_rows, of.unit_cols, of.n, of.m}));
  EXPECT_EQ(a->network.parameters[1]->units, PatternUnits{});
  int updates = 0;
  for (std::int64_t t = 0; t < 45; ++t) {
    a->step(t);
    twin->step(t);
    expect_pattern_everywhere(*a);
    if (!pruning_due(c, t)) continue;
    ++updates;
    const PruningGroup& g = a->pruner->groups().front();
    for (const PruningTarget& target : g.targets) {
      EXPECT_EQ(target.parameter->is_sparse(), target.parameter->nnz() < target.parameter->shape().numel())
          << "a full layer is stored dense";
      if (target.parameter->is_sparse()) expect_whole_units(g, *target.parameter);
    }
    expect_counts(g, target_sparsity(c, t));
  }
  EXPECT_TRUE(same_bits(*a, *twin)) << "replicas";
  EXPECT_GE(updates, 1);
  expect_counts(a->pruner->groups().front(), c.sparsity);
  expect_summary(*a->pruner, c);
  EXPECT_TRUE(std::isfinite(a->loss));
  return a;
}

class EveryMethod : public ::testing::TestWithParam<const char*> {};

TEST_P(EveryMethod, CountsAreExactAtEveryUpdate) {
  int combinations = 0;
  for (const char* distribution : {"uniform", "er", "erk", "global"}) {
    for (const char* granularity : {"unstructured", "block", "vector", "channel", "n_m"}) {
      if (std::string(granularity) == "n_m" && std::string(distribution) != "uniform") continue;  // refused
      expect_exact_counts(config_of(GetParam(), distribution, granularity), kCpu);
      ++combinations;
    }
  }
  EXPECT_EQ(combinations, 17);
}

/// The same on CUDA; there the pattern must also be the CPU's, but for entries that rounding has moved over a threshold.
TEST_P(EveryMethod, CountsAreExactOnCuda) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  const std::pair<const char*, const char*> kinds[] = {
      {"uniform", "unstructured"}, {"global", "unstructured"}, {"erk", "unstructured"},
      {"uniform", "block"},        {"er", "vector"},           {"global", "channel"},
      {"uniform", "n_m"}};
  const bool is_short = std::getenv("LACUNA_SHORT_TESTS") != nullptr;  // under compute-sanitizer
  for (const auto& [distribution, granularity] : kinds) {
    if (is_short && std::string(distribution) == "uniform" && std::string(granularity) == "unstructured") continue;
    const PruningConfig c = config_of(GetParam(), distribution, granularity);
    const auto there = expect_exact_counts(c, devices()[1]), here = expect_exact_counts(c, kCpu);
    for (const std::size_t i : {0, 2}) {
      const Parameter &p = *there->network.parameters[i], &q = *here->network.parameters[i];
      ASSERT_EQ(p.is_sparse(), q.is_sparse());
      if (!p.is_sparse()) continue;
      const Churn moved = churn(host_pattern(*q.topology()), host_pattern(*p.topology()));
      EXPECT_LE(moved.dropped, q.nnz() / 10) << GetParam() << " " << distribution << " " << granularity;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryMethod,
                         ::testing::Values("static", "magnitude", "random", "one_shot", "set", "rigl", "snip", "acdc"),
                         [](const auto& param) { return std::string(param.param); });

TEST(Replicas, OfAnotherSeedHaveAnotherTopology) {
  for (const char* method : {"static", "random", "set", "rigl"}) {
    const PruningConfig c = config_of(method, "uniform", "unstructured");
    TinyTraining a(c, kInputs, kHidden, kClasses, 5), b(c, kInputs, kHidden, kClasses, 6);
    for (std::int64_t t = 0; t <= 4; ++t) a.step(t), b.step(t);
    const Parameter &p = *a.network.parameters[0], &q = *b.network.parameters[0];
    ASSERT_EQ(p.is_sparse(), q.is_sparse());
    if (!p.is_sparse()) continue;
    EXPECT_FALSE(p.topology()->same_pattern(*q.topology())) << method;
  }
}

TEST(DynamicMethods, SurvivorsKeepTheirBitsAndNewConnectionsBeginAtZero) {
  for (const char* method : {"set", "rigl"}) {
    TinyTraining a(config_of(method, "uniform", "unstructured"), kInputs, kHidden, kClasses, 3);
    for (std::int64_t t = 0; t < 9; ++t) a.step(t);
    const auto before = dense_state(*a.network.parameters[0]);
    // The update alone: pruner's two calls around a backward pass, no optimizer.
    a.pruner->step(9);
    a.backward_pass(9);
    a.pruner->after_backward(9);
    const auto after = dense_state(*a.network.parameters[0]);
    int grown = 0, gone = 0;
    for (std::size_t i = 0; i < before.at("pattern").size(); ++i) {
      const bool was = before.at("pattern")[i] != 0, is = after.at("pattern")[i] != 0;
      grown += is && !was;
      gone += was && !is;
      for (const char* name : {"value", "adam_m", "adam_v"})
        EXPECT_EQ(after.at(name)[i], is && was ? before.at(name)[i] : 0.0f) << name << " " << i;
    }
    EXPECT_EQ(grown, gone) << method;
    EXPECT_GT(grown, 3) << method;
    EXPECT_LE(grown, 29) << "0.3 of 96 at the most";
  }
}

TEST(DynamicMethods, RigLLeavesTheOptimizerOutAtUpdates) {
  TinyTraining a(config_of("rigl", "uniform", "unstructured"), kInputs, kHidden, kClasses, 3);
  for (std::int64_t t = 0; t < 9; ++t) a.step(t);
  const std::vector<float> bias = a.network.parameters[1]->value().to_vector<float>();
  a.step(9);
  EXPECT_EQ(a.network.parameters[1]->value().to_vector<float>(), bias);
  EXPECT_EQ(a.network.parameters[0]->gradient_pairs, nullptr);
  a.step(10);
  EXPECT_NE(a.network.parameters[1]->value().to_vector<float>(), bias);
}

TEST(Staged, RewindsSurvivorsToTheirEarlyValues) {
  PruningConfig c = config_of("magnitude", "uniform", "unstructured");
  c.schedule = "staged";
  c.rewind_step = 2;
  TinyTraining a(c, kInputs, kHidden, kClasses, 3);
  std::map<std::string, std::vector<float>> early;
  for (std::int64_t t = 0; t < 40; ++t) {
    if (t == 2) early = dense_state(*a.network.parameters[0]);
    const bool due = pruning_due(c, t);
    a.pruner->step(t);
    if (due) {
      const auto now = dense_state(*a.network.parameters[0]);
      for (std::size_t i = 0; i < now.at("value").size(); ++i)
        EXPECT_EQ(now.at("value")[i], now.at("pattern")[i] != 0 ? early.at("value")[i] : 0.0f);
      EXPECT_EQ(a.network.parameters[0]->slots().size(), t < 31 ? 1u : 0u)
          << "state begins anew; the last stage forgets";
    }
    // The rest of the step: a second call of step() would prune again.
    a.backward_pass(t);
    const UpdateInputs update{3e-3, t, a.guard.inspect(a.network.parameters, Tensor::zeros({}, DType::f32))};
    for (Parameter* p : a.network.parameters) a.optimizer->update(*p, update);
    for (Parameter* p : a.network.parameters) p->var().clear_grad();
  }
  EXPECT_NEAR(a.pruner->achieved_sparsity(), 0.75, 1e-12);
}

TEST(Groups, HaveSchedulesOfTheirOwn) {
  PruningConfig c = config_of("magnitude", "uniform", "unstructured");
  c.groups.push_back({.include = {"2"}, .sparsity = 0.5, .schedule = "one_shot", .begin_step = 7});
  TinyTraining a(c, kInputs, kHidden, kClasses, 3);
  ASSERT_EQ(a.pruner->groups().size(), 2u);
  for (std::int64_t t = 0; t < 40; ++t) {
    a.step(t);
    EXPECT_EQ(a.network.parameters[2]->nnz(), t < 7 ? 192 : 96) << t;
  }
  EXPECT_EQ(a.network.parameters[0]->nnz(), 96);
  EXPECT_EQ(a.pruner->last_step(), 31);
}

TEST(Layers, OfTheirOwnStandBesideTheDistribution) {
  PruningConfig c = config_of("magnitude", "global", "unstructured");
  c.layers.push_back({{"0"}, 0.25});
  TinyTraining a(c, kInputs, kHidden, kClasses, 3);
  for (std::int64_t t = 0; t < 32; ++t) a.step(t);
  EXPECT_EQ(a.network.parameters[0]->nnz(), 288);
  EXPECT_EQ(a.network.parameters[2]->nnz(), 48);
  const std::vector<LayerSparsity> layers = a.pruner->layers();
  EXPECT_TRUE(layers[0].own);
  EXPECT_EQ(layers[0].requested, 288);
  EXPECT_EQ(layers[1].stored, 48);
  EXPECT_NE(a.pruner->summary().find("(336 of 576 stored)"), std::string::npos) << a.pruner->summary();
}

TEST(FullLayers, StayDense) {
  for (const char* method : {"rigl", "one_shot", "acdc"}) {
    PruningConfig c = config_of(method, "erk", "unstructured");
    c.sparsity = 0.1;  // eps overfills the second weight
    TinyTraining a(c, kInputs, kHidden, kClasses, 3);
    for (std::int64_t t = 0; t < 12; ++t) a.step(t);
    if (std::string(method) != "acdc") {
      EXPECT_TRUE(a.network.parameters[0]->is_sparse()) << method;
      EXPECT_EQ(a.network.parameters[0]->nnz() + a.network.parameters[2]->nnz(), 518) << method;
    }
    EXPECT_FALSE(a.network.parameters[2]->is_sparse()) << method;
  }
}

TEST(Excluded, AreCountedInTheOverallSparsity) {
  PruningConfig c = config_of("one_shot", "uniform", "unstructured");
  c.exclude = {"2"};
  TinyTraining a(c, kInputs, kHidden, kClasses, 3);
  for (std::int64_t t = 0; t < 6; ++t) a.step(t);
  EXPECT_DOUBLE_EQ(a.pruner->achieved_sparsity(), 0.75);
  EXPECT_DOUBLE_EQ(a.pruner->overall_sparsity(), 288.0 / 576);
}

TEST(Blocks, AtTheEdgeCountAsOne) {
  PruningConfig c = config_of("one_shot", "uniform", "block");
  c.block = {5, 3};  // 24 x 16: five by six units, the last ones cut off
  TinyTraining a(c, kInputs, kHidden, kClasses, 3);
  for (std::int64_t t = 0; t < 5; ++t) a.step(t);
  const PruningGroup& g = a.pruner->groups().front();
  EXPECT_EQ(g.granularity.stored_units(*a.network.parameters[0]), std::llround(0.25 * 30));
  expect_whole_units(g, *a.network.parameters[0]);
}

std::string refusal(const PruningConfig& c, const std::function<void(TwoLayerNetwork&)>& before = {}) {
  TwoLayerNetwork network(Tensor::full({24, 16}, 1, DType::f32), Tensor::full({24}, 1, DType::f32),
                          Tensor::full({8, 24}, 1, DType::f32), Tensor::full({8}, 1, DType::f32));
  for (const std::size_t i : {0, 2}) network.parameters[i]->prunable = true;
  if (before) before(network);
  try {
    Pruner(c, network.parameters, 1);
  } catch (const ConfigKeyError& error) {
    return error.key() + " " + error.message();
  }
  return "(accepted)";
}

TEST(Refusals, NameTheKey) {
  PruningConfig c = config_of("magnitude", "uniform", "unstructured");
  EXPECT_EQ(refusal(c), "(accepted)");
  c.include = {"**", "9"};
  EXPECT_EQ(refusal(c).substr(0, 50), "pruning.include.1 '9' matches no prunable weight; ");
  c.include = {"**"};
  c.exclude = {"0", "2"};
  EXPECT_EQ(refusal(c).substr(0, 38), "pruning.exclude leaves nothing to prun");
  c.exclude = {};
  c.layers = {{{"**"}, 0.0}};
  EXPECT_EQ(refusal(c).substr(0, 39), "pruning.layers leaves everything dense;");
  c.layers = {{{"1"}, 0.5}};
  EXPECT_EQ(refusal(c).substr(0, 27), "pruning.layers.0.include.0 ");
  c.layers = {};
  c.groups = {{.include = {"3"}}};
  EXPECT_EQ(refusal(c).substr(0, 27), "pruning.groups.0.include.0 ");
  c.groups = {};
  c = config_of("magnitude", "uniform", "n_m");
  c.n_m = {2, 5};
  EXPECT_EQ(refusal(c), "pruning.n_m has m = 5, but '0' has 16 columns; m must divide them");
  c = config_of("magnitude", "uniform", "unstructured");
  EXPECT_EQ(
      refusal(c,
              [](TwoLayerNetwork& n) { prune_parameter(*n.parameters[2], magnitude_score()(*n.parameters[2]), 19); }),
      "pruning.sparsity asks for 0.75, but '2' is 0.9010 sparse already; must be at least that");
}

}  // namespace
}  // namespace lacuna
