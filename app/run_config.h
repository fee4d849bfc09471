// The root of a run's YAML file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/field.h"
#include "data/data_config.h"
#include "models/factory.h"
#include "optim/optimizer_config.h"
#include "optim/schedule_config.h"
#include "pruning/pruning_config.h"
#include "train/observe_config.h"
#include "train/training_config.h"

namespace lacuna {

struct RunConfig {
  std::string name;
  std::uint64_t seed = 0;
  std::string device = "auto";
  std::string matmul_precision = "highest";
  int threads = 0;
  std::string output_dir = "runs";
  ModelConfig model;
  DataConfig data;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  PruningConfig pruning;
  TrainingConfig training;

  /// Where it was read, for messages about keys that only the model can judge; no key of the config.
  struct Source {
    std::string name;
    std::string text;
    std::vector<std::string> overrides;
  } source;
  ObserveConfig observe;
};

template <class V>
void describe(RunConfig& c, V&& v) {
  v("name", c.name, "Names the run and its directory; letters, digits, '_', '.', '-'", required(), non_empty());
  v("seed", c.seed, "Seed of initial weights, order of the data, augmentation, dropout and random patterns");
  v("device", c.device, "auto (the first CUDA device, else the CPU), cpu, cuda or cuda:N");
  v("matmul_precision", c.matmul_precision,
    "f32 products on CUDA: highest, or tf32 (operands rounded to 10 mantissa bits)", one_of({"highest", "tf32"}));
  v("threads", c.threads, "CPU threads; 0 = all", range(0, 1024));
  v("output_dir", c.output_dir, "Directory that receives <name>/<timestamp>-<id>/", non_empty());
  v("model", c.model, "The network", required());
  v("data", c.data, "What it is trained on", required());
  v("optimizer", c.optimizer, "How gradients change the weights", required());
  v("schedule", c.schedule, "Factor on the learning rate, by step");
  v("pruning", c.pruning, "Which weights become sparse, when and how far");
  v("training", c.training, "The training loop");
  v("observe", c.observe, "What is recorded of patterns and pruned weights");
}

/// Whether `text` can name a run and its directory: at most 100 letters, digits, '_', '.', '-', the first neither '.' nor '-'.
bool is_run_name(std::string_view text);

/// What spans sections: model against data, schedules against the length of the run.
void validate(const RunConfig& config, const ReportProblem& problem);

/// Reads, checks and returns a run's config; touches no device and no file but `path`.
///   overrides  "a.b=c", applied in order
/// Throws ConfigError whose what() has one problem per line: `path:line:column: ...` or `override 'a.b=c': ...`.
RunConfig load_run_config(const std::string& path, const std::vector<std::string>& overrides = {});

/// The same from text, which messages call `name`.
RunConfig parse_run_config(const std::string& text, const std::string& name,
                           const std::vector<std::string>& overrides = {});

/// "x.yaml:12:5: 'pruning.include.0' message", the place being that of the key or of the nearest section that is written.
std::string locate(const RunConfig& config, const std::string& key, const std::string& message);

/// Complete YAML: every key and its value; reading it gives the same config. With `comments`, each key's meaning beside
/// it.
std::string write_run_config(const RunConfig& config, bool comments = false);

/// Meaning, type, default and limits of a dotted key, or of all keys. Throws ConfigError for an unknown one.
std::string explain_run_config(const std::string& key = "");

}  // namespace lacuna
