// Sweep files that are right, and what is made of their results. tests/app/sweep.py has the broken ones and real runs.
#include <gtest/gtest.h>

#include <cmath>

#include "app/sweep_results.h"
#include "core/errors.h"

namespace lacuna {
namespace {

const std::string kBase = R"(name: base
model: {type: mlp, hidden: [24]}
data: {type: synthetic}
optimizer: {type: adam}
pruning: {method: magnitude, begin_step: 2, end_step: 20}
training: {steps: 30}
)";

Sweep parse(const std::string& rest, const std::vector<std::string>& overrides = {}) {
  return parse_sweep("name: s\nbase: b.yaml\n" + rest, "s.yaml", overrides, &kBase);
}

TEST(SweepFile, MultipliesTheGridTheLastKeyFastest) {
  const Sweep sweep = parse("grid: {pruning.sparsity: [0.8, 0.95], seed: [1, 2]}\n", {"training.batch_size=7"});
  ASSERT_EQ(sweep.runs.size(), 4u);
  EXPECT_EQ(sweep.keys, (std::vector<std::string>{"pruning.sparsity", "seed"}));
  EXPECT_EQ(sweep.runs[1].label, "002_sparsity-0.8_seed-2");
  EXPECT_EQ(sweep.runs[1].config.name, sweep.runs[1].label);
  EXPECT_EQ(sweep.runs[1].config.seed, 2u);
  EXPECT_EQ(sweep.runs[2].config.pruning.sparsity, 0.95);
  EXPECT_EQ(sweep.runs[2].config.training.batch_size, 7);
}

TEST(SweepFile, ValuesMayBeAnythingThatYamlHas) {
  const Sweep sweep =
      parse("grid:\n  optimizer: [{type: sgd, lr: 0.5}, {type: adam}]\n  pruning.exclude: [[], [\"layers.0.*\"]]\n");
  ASSERT_EQ(sweep.runs.size(), 4u);
  EXPECT_NE(std::get_if<SgdConfig>(&sweep.runs[0].config.optimizer), nullptr);
  EXPECT_EQ(sweep.runs[3].config.pruning.exclude, std::vector<std::string>{"layers.0.*"});
  EXPECT_EQ(sweep.runs[3].settings[1].second, "[\"layers.0.*\"]");
  for (const SweepRun& run : sweep.runs) EXPECT_TRUE(is_run_name(run.label)) << run.label;
}

TEST(SweepFile, AlsoTakesTheSeedsOfTheGrid) {
  const Sweep sweep =
      parse("grid: {seed: [1, 2]}\nalso: [{pruning.method: none}, {pruning.method: random, seed: 9}]\n");
  ASSERT_EQ(sweep.runs.size(), 5u);
  EXPECT_EQ(sweep.runs[3].config.pruning.method, "none");
  EXPECT_EQ(sweep.runs[3].config.seed, 2u);
  EXPECT_EQ(sweep.runs[4].config.seed, 9u);
}

TEST(SweepFile, TwoSettingsThatContradictEachOtherAreNamed) {
  try {
    parse("grid: {training.steps: [30, 15], pruning.end_step: [10, 20]}\n");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("s.yaml:3:"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("'training.steps' (15)"), std::string::npos) << error.what();
  }
}

SweepResult finished(double accuracy, double sparsity) {
  SweepResult result{"finished", "", "runs/x", {}};
  result.numbers.accuracy = accuracy;
  result.numbers.sparsity = sparsity;
  return result;
}

TEST(SweepResults, MeanAndDeviationOfTheSample) {
  const MeanAndDeviation m = mean_and_deviation({1, 2, 3, 4});
  EXPECT_DOUBLE_EQ(m.mean, 2.5);
  EXPECT_DOUBLE_EQ(m.deviation, std::sqrt(5.0 / 3));
  EXPECT_TRUE(std::isnan(mean_and_deviation({1}).deviation));
  EXPECT_TRUE(std::isnan(mean_and_deviation({}).mean));
}

TEST(SweepResults, GroupsDifferInMoreThanTheSeed) {
  const Sweep sweep = parse("grid: {pruning.sparsity: [0.8, 0.9], seed: [1, 2]}\n");
  const std::vector<SweepResult> results{
      finished(0.9, 0.8), finished(0.7, 0.8), finished(0.5, 0.9), {"failed", "diverged, \"quickly\"", "", {}}};
  const std::vector<SweepGroup> groups = group_runs(sweep, results);
  ASSERT_EQ(groups.size(), 2u);
  EXPECT_DOUBLE_EQ(groups[0].over(&SweepNumbers::accuracy).mean, 0.8);
  EXPECT_EQ(groups[1].num_runs, 2u);
  EXPECT_EQ(groups[1].finished.size(), 1u);
  EXPECT_NE(sweep_table(sweep, groups).find("80.00 +- 14.14 %"), std::string::npos) << sweep_table(sweep, groups);
  EXPECT_NE(sweep_table(sweep, groups).find("1 of 2"), std::string::npos);
  EXPECT_NE(sweep_csv(sweep, groups).find("\n0.8,2,2,0.8,0.141421356,"), std::string::npos) << sweep_csv(sweep, groups);
  const auto json = sweep_json(sweep, results);
  EXPECT_TRUE(json["groups"][1]["accuracy"]["std"].is_null());
  EXPECT_EQ(json["runs"][3]["error"], "diverged, \"quickly\"");
  EXPECT_TRUE(json["runs"][3]["accuracy"].is_null());
  const std::string page = sweep_page(sweep, results, "<now>", {{"Sweep", "a < b"}});
  EXPECT_NE(page.find("&lt;now&gt;"), std::string::npos);
  EXPECT_NE(page.find("failed: diverged, &quot;quickly&quot;"), std::string::npos);
  EXPECT_NE(page.find("class=\"title\">Accuracy<"), std::string::npos);
}

TEST(SweepResults, LinesAreNamedByWhatDiffers) {
  const Sweep sweep = parse(
      "grid: {pruning.method: [magnitude, random], pruning.sparsity: [0.8], pruning.distribution: [erk]}\n"
      "also: [{pruning.method: none, training.batch_size: 7}]\n");
  const std::string page = sweep_page(sweep, {finished(0.9, 0.8), finished(0.7, 0.8), finished(0.95, 0)}, "", {});
  EXPECT_NE(page.find("</i>magnitude, distribution erk</span>"), std::string::npos);
  EXPECT_NE(page.find("</i>random, distribution erk</span>"), std::string::npos);
  EXPECT_NE(page.find(">dense, batch_size 7</text>"), std::string::npos);
  EXPECT_EQ(page.find("</i>dense"), std::string::npos);  // a dashed line, no series
}

TEST(SweepResults, ComeBackFromTheirFile) {
  const SweepResult result = finished(0.25, 0.5);
  const SweepResult read = result_from_json(to_json(result).dump(), "r.json");
  EXPECT_EQ(read.numbers.accuracy, 0.25);
  EXPECT_TRUE(std::isnan(read.numbers.bits_per_byte));
  EXPECT_EQ(read.directory, "runs/x");
  for (const char* broken : {"", "[]", "{}", "{\"status\": \"failed\", \"directory\": \"x\"}", "{\"status\": 1}"})
    EXPECT_THROW(result_from_json(broken, "r.json"), DataError) << broken;
}

}  // namespace
}  // namespace lacuna
