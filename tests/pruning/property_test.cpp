// Over 1,000 steps of every method: nothing outside the pattern in values, gradients or optimizer state.
#include <gtest/gtest.h>

#include <cmath>

#include "pruning/sparsity_schedule.h"
#include "tests/pruning/tiny_training.h"

namespace lacuna {
namespace {

using DenseState = std::map<std::string, std::vector<float>>;

/// Of two dense pictures of a weight: survivors have their bits, in values and in optimizer state; what was not stored
/// before is 0 now; what is not stored now is 0. Returns how many entries went or came.
int expect_carried_over(const DenseState& before, const DenseState& after) {
  int moved = 0;
  for (std::size_t i = 0; i < before.at("pattern").size(); ++i) {
    const bool was = before.at("pattern")[i] != 0, is = after.at("pattern")[i] != 0;
    moved += was != is;
    for (const auto& [name, values] : before) {
      if (name == "pattern") continue;
      EXPECT_EQ(after.at(name)[i], was && is ? values[i] : 0.0f) << name << " " << i;
    }
  }
  return moved;
}

struct Case {
  const char* method;
  const char* granularity;
};

class EveryMethodLong : public ::testing::TestWithParam<Case> {};

TEST_P(EveryMethodLong, NothingOutsideThePatternInAThousandSteps) {
  PruningConfig c;
  c.method = GetParam().method;
  c.granularity = GetParam().granularity;
  c.distribution = "erk";
  c.sparsity = 0.75;
  c.initial_sparsity = 0.2;
  c.begin_step = 4;
  c.end_step = 900;
  c.frequency = 45;
  if (c.granularity == "block") c.block = {2, 3};  // cut off at the edges of 9 x 7 and 5 x 9
  TinyTraining a(c, 7, 9, 5, 11, AdamConfig{.lr = 3e-3});
  const bool moves_after_backward = c.method == "rigl";  // which leaves the optimizer's step out
  int updates = 0, moved = 0, gradients = 0;
  for (std::int64_t t = 0; t < 1000; ++t) {
    const bool due = pruning_due(c, t);
    std::vector<DenseState> before;
    std::vector<TopologyPtr> patterns;
    for (const std::size_t i : {0, 2}) {
      before.push_back(dense_state(*a.network.parameters[i]));
      patterns.push_back(a.network.parameters[i]->topology());
    }
    const auto compare = [&] {
      for (std::size_t i = 0; i < 2; ++i)
        moved += expect_carried_over(before[i], dense_state(*a.network.parameters[2 * i]));
    };
    a.after_pruning = [&] {
      if (due && (!moves_after_backward || t == 0)) compare();
    };
    a.after_update = [&] {
      gradients += expect_pattern_everywhere(a);
      if (due && moves_after_backward && t > 0) compare();
    };
    a.step(t);
    updates += due;
    for (std::size_t i = 0; i < 2; ++i) {
      const Parameter& p = *a.network.parameters[2 * i];
      if (!due) {
        EXPECT_EQ(p.topology(), patterns[i]) << "a pattern moved between updates";
      }
      if (!p.is_sparse()) continue;
      EXPECT_NO_THROW(
          Topology::from_csr(p.shape()[0], p.shape()[1], p.topology()->row_offsets(), p.topology()->col_indices()));
    }
    ASSERT_FALSE(HasFailure()) << "step " << t;
  }
  EXPECT_GT(updates, 0);
  EXPECT_GT(moved, 50);
  EXPECT_GE(gradients, 3900);  // of four parameters in nearly all steps
  EXPECT_TRUE(std::isfinite(a.loss));
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const char* method : {"static", "magnitude", "random", "one_shot", "set", "rigl", "snip", "acdc"})
    for (const char* granularity : {"unstructured", "block"}) cases.push_back({method, granularity});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Methods, EveryMethodLong, ::testing::ValuesIn(all_cases()), [](const auto& param) {
  return std::string(param.param.method) + "_" + param.param.granularity;
});

}  // namespace
}  // namespace lacuna
