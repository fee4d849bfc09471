// What only model and data can refuse in a config is refused with the place of its key.
#include <gtest/gtest.h>

#include "app/session.h"
#include "core/errors.h"
#include "tests/train/temporary_directory.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

constexpr const char* kStart = R"(name: refused
model: {type: mlp, hidden: [12, 10]}
data: {type: synthetic, num_examples: 64}
optimizer: {type: sgd}
training: {steps: 10, batch_size: 4}
pruning:
  method: magnitude
  end_step: 8
)";

std::string error(const std::string& keys, const std::vector<std::string>& overrides = {}) {
  try {
    Session session = open_session(parse_run_config(kStart + keys, "x.yaml", overrides));
    make_trainer(session);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "(accepted)";
}

void expect_begins(const std::string& text, const std::string& start) {
  EXPECT_EQ(text.substr(0, start.size()), start);
}

TEST(ModelRefusals, HaveLineAndColumn) {
  EXPECT_EQ(error(""), "(accepted)");
  expect_begins(
      error("  include: ['**', 'layer.*']\n"),
      "x.yaml:9:19: 'pruning.include.1' 'layer.*' matches no prunable weight; must match one of: layers.0.weight");
  expect_begins(error("  exclude: ['**']\n"), "x.yaml:9:12: 'pruning.exclude' leaves nothing to prune");
  expect_begins(error("", {"pruning.exclude=[nothing]"}),
                "override 'pruning.exclude=[nothing]': 'pruning.exclude.0' 'nothing' matches no prunable weight");
  expect_begins(
      error("  layers:\n    - include: ['layers.0.*']\n      sparsity: 0.5\n    - include: [x]\n      sparsity: 0.5\n"),
      "x.yaml:12:17: 'pruning.layers.1.include.0' 'x' matches no prunable weight");
  expect_begins(error("  groups:\n    - {include: [x], sparsity: 0.5}\n"),
                "x.yaml:10:18: 'pruning.groups.0.include.0' 'x' matches no prunable weight");
  expect_begins(error("  layers:\n    - {include: ['**'], sparsity: 0}\n"),
                "x.yaml:10:5: 'pruning.layers' leaves everything dense");
  expect_begins(error("  sparsity: 0.8\n  granularity: n_m\n  n_m: [1, 5]\n"),
                "x.yaml:11:8: 'pruning.n_m' has m = 5, but 'layers.0.weight' has ");
  expect_begins(error("  begin_epoch: 0.5\n  end_epoch: 2\n", {"pruning.end_step=0"}),
                "x.yaml:10:14: 'pruning.end_epoch' makes step 32 the last that prunes, but training has 10");
}

TEST(ModelRefusals, TargetBelowWhatALoadedWeightHas) {
  const TemporaryDirectory directory;
  const std::string keys = "  sparsity: 0.5\n";
  const std::string file = (directory / "sparse.safetensors").string();
  {
    Session session = open_session(parse_run_config(std::string(kStart) + "  sparsity: 0.9\n", "x.yaml", {}));
    const std::unique_ptr<Trainer> trainer = make_trainer(session);
    for (int i = 0; i < 9; ++i) trainer->advance();
    ASSERT_GT(trainer->sparsity(), 0.85);
    save_checkpoint(file, trainer->parameters(), trainer->buffers(), {});
  }
  EXPECT_EQ(error(keys), "(accepted)");
  expect_begins(error(keys, {"training.init_from=" + file}),
                "x.yaml:9:13: 'pruning.sparsity' asks for 0.5, but 'layers.0.weight' is 0.9");
  EXPECT_EQ(error("  sparsity: 0.95\n", {"training.init_from=" + file}), "(accepted)");
}

}  // namespace
}  // namespace lacuna
