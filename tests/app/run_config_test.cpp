// RunConfig from good, truncated and broken YAML. Runs in the repository's root.
#include "app/run_config.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>

#include "core/errors.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGood = R"(# every section, so that cutting it anywhere cuts something
name: good-run_1.0
seed: 18446744073709551615
device: cpu
model:
  type: transformer
  layers: 2
  hidden: 64
  heads: 4
  activation: gelu
  attention: {type: band_and_random, band: 16, off_band_sparsity: 0.9}
  dropout:
    attention: 0.1
data:
  type: text
  path: "texts/é \"quoted\""
  sequence_length: 64
  extensions: [.h, '.cpp']
optimizer:
  type: sgd
  lr: 2.5e-1
schedule:
  type: step
  milestones:
    - 40
    - 80
pruning:
  method: magnitude
  begin_step: 20
  end_step: 80
  include: ["blocks.*"]
training:
  steps: 100
)";

std::vector<fs::path> yaml_files(const fs::path& directory) {
  std::vector<fs::path> files;
  if (!fs::exists(directory)) return files;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".yaml") files.push_back(fs::absolute(entry.path()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The text after `# key: ` in the first two lines, or "".
std::string expectation(const fs::path& file, const std::string& key) {
  std::ifstream stream(file);
  std::string line;
  for (int i = 0; i < 2 && std::getline(stream, line); ++i) {
    if (line.starts_with("# " + key + ": ")) return line.substr(key.size() + 4);
  }
  return "";
}

std::string error(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse_run_config(text, "x.yaml", overrides);
  } catch (const ConfigError& e) {
    return e.what();
  }
  return "(loaded)";
}

TEST(RunConfig, Good) {
  const RunConfig c = parse_run_config(kGood, "good.yaml");
  EXPECT_EQ(c.name, "good-run_1.0");
  EXPECT_EQ(c.seed, 18446744073709551615u);
  EXPECT_EQ(c.output_dir, "runs");
  const auto& model = std::get<TransformerConfig>(c.model);
  EXPECT_EQ(model.layers, 2);
  EXPECT_EQ(model.activation, Activation::gelu);
  EXPECT_EQ(std::get<BandAndRandomConfig>(model.attention).band, 16);
  EXPECT_EQ(model.dropout.attention, 0.1);
  EXPECT_EQ(c.data.path, "texts/é \"quoted\"");
  EXPECT_EQ(std::get<SgdConfig>(c.optimizer).lr, 0.25);
  EXPECT_EQ(std::get<StepScheduleConfig>(c.schedule).milestones, (std::vector<std::int64_t>{40, 80}));
  EXPECT_EQ(c.pruning.include, std::vector<std::string>{"blocks.*"});
  EXPECT_EQ(c.training.steps, 100);
}

TEST(RunConfig, ResolvedConfigReadsBackIdentical) {
  const RunConfig c =
      parse_run_config(kGood, "good.yaml", {"model={type: mlp, hidden: [3, 4]}", "data.type=idx", "threads=3"});
  for (const bool comments : {false, true}) {
    const std::string yaml = write_run_config(c, comments);
    EXPECT_EQ(write_run_config(parse_run_config(yaml, "resolved.yaml"), comments), yaml);
    EXPECT_NE(yaml.find("\n  hidden: [3, 4]"), std::string::npos) << yaml;
  }
}

TEST(RunConfig, EveryTypeExplainsAndWritesItself) {
  const std::string all = explain_run_config();
  for (const char* key : {"seed: ", "model.layers: ", "model.attention.band: ", "data.path: ", "optimizer.momentum: ",
                          "schedule.gamma: ", "pruning.sparsity: ", "training.batch_size: "}) {
    EXPECT_NE(all.find(std::string("\n") + key), std::string::npos) << key;
  }
  EXPECT_THROW(explain_run_config("pruning.sparsty"), ConfigError);
}

TEST(RunConfig, BrokenConfigsGiveOneClearErrorEachAndWriteNothing) {
  const std::vector<fs::path> files = yaml_files("tests/configs_bad");
  EXPECT_GE(files.size(), 45u) << "run this test in the repository's root";
  const fs::path home = fs::current_path();
  const fs::path empty = fs::path(testing::TempDir()) / "lacuna_run_config_test";
  fs::create_directories(empty);
  fs::current_path(empty);
  for (const fs::path& file : files) {
    SCOPED_TRACE(file.filename().string());
    const std::string expected = expectation(file, "expect");
    const std::string count = expectation(file, "count");
    EXPECT_NE(expected, "");
    std::string message;
    try {
      load_run_config(file.string());
      ADD_FAILURE() << "loaded";
    } catch (const ConfigError& e) {
      message = e.what();
    }
    EXPECT_NE(message.find("/" + expected), std::string::npos) << "gave     " << message << "\nexpected " << expected;
    EXPECT_EQ(std::count(message.begin(), message.end(), '\n') + 1, count.empty() ? 1 : std::stoi(count)) << message;
  }
  EXPECT_TRUE(fs::is_empty(empty));
  fs::current_path(home);
  fs::remove(empty);
}

TEST(RunConfig, ConfigsOfTheRepositoryLoad) {
  for (const fs::path& file : yaml_files("configs")) {
    SCOPED_TRACE(file.filename().string());
    try {
      const std::string yaml = write_run_config(load_run_config(file.string()));
      EXPECT_EQ(write_run_config(parse_run_config(yaml, "resolved.yaml")), yaml);
    } catch (const ConfigError& e) {
      ADD_FAILURE() << e.what();
    }
  }
}

TEST(RunConfig, EveryPrefixLoadsOrIsRefused) {
  const std::string good = kGood;
  std::size_t refused = 0;
  for (std::size_t length = 0; length <= good.size(); ++length) {
    refused += error(good.substr(0, length)) != "(loaded)";  // any other exception ends the test
  }
  EXPECT_GT(refused, good.size() / 2);
  EXPECT_EQ(error(good), "(loaded)");
}

TEST(RunConfig, EveryMutationLoadsOrIsRefused) {
  const std::string good = kGood;
  std::mt19937 random(1);
  constexpr char kBytes[] = "\0\t\n '\"[]{}:,#&*!|>%@`-?~<.e0\x80\xff";
  const std::string bytes(kBytes, sizeof(kBytes) - 1);
  for (int trial = 0; trial < 3000; ++trial) {
    std::string text = good;
    for (unsigned k = 1 + random() % 3; k > 0; --k) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0: text[at] = bytes[random() % bytes.size()]; break;
        case 1: text.insert(at, 1, bytes[random() % bytes.size()]); break;
        default: text.erase(at, 1 + random() % 8); break;
      }
    }
    error(text);
  }
}

TEST(RunConfig, Overrides) {
  const RunConfig c =
      parse_run_config(kGood, "good.yaml", {"optimizer.lr=0.5", "schedule.milestones.0=30", "training.steps=90"});
  EXPECT_EQ(std::get<SgdConfig>(c.optimizer).lr, 0.5);
  EXPECT_EQ(std::get<StepScheduleConfig>(c.schedule).milestones, (std::vector<std::int64_t>{30, 80}));
  EXPECT_EQ(c.training.steps, 90);
  EXPECT_EQ(error(kGood, {"training.step=1"}),
            "override 'training.step=1': unknown key 'step' in 'training' (did you mean 'steps'?)");
  // The file's value, or the override that clashes with it: the place is that of the key the message is about.
  EXPECT_EQ(error(kGood, {"pruning.end_step=500"}),
            "override 'pruning.end_step=500': 'pruning.end_step' must be at most 'training.steps' (100), or the final "
            "sparsity is never reached, got 500");
}

}  // namespace
}  // namespace lacuna
