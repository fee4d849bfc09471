// A sweep's YAML file: a base config and a grid of settings, checked as a whole before anything runs.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/run_config.h"

namespace lacuna {

struct SweepConfig {
  std::string name;
  std::string base;
  std::string output_dir = "runs/sweeps";
};

template <class V>
void describe(SweepConfig& c, V&& v) {
  v("name", c.name, "Names the sweep and its directory", required(), non_empty());
  v("base", c.base, "The config that every run starts from; a path from where lacuna is started", required(),
    non_empty());
  v("output_dir", c.output_dir, "Directory that receives <name>/<timestamp>-<id>/", non_empty());
}

void validate(const SweepConfig& config, const ReportProblem& problem);

struct SweepRun {
  std::string label;  ///< "003_sparsity-0.9_method-random_seed-1": a directory's name, different for each run
  /// Dotted key and value, as YAML in one line; those of the grid in its order.
  std::vector<std::pair<std::string, std::string>> settings;
  RunConfig config;  ///< its name is the label; its output_dir is still the base's
};

struct Sweep {
  SweepConfig config;
  std::string base_text;          ///< of the file that `base` names
  std::vector<std::string> keys;  ///< of the settings, in order of first appearance
  std::vector<SweepRun> runs;     ///< the last key of the grid varies fastest; then those of `also`
};

inline constexpr std::size_t kMaxSweepRuns = 1000;

/// Reads a sweep and makes the config of every run.
///   text, file  the sweep and what messages call it
///   overrides   "a.b=c" for every run, under the grid's settings
///   base_text   the base config, or null: read from the file that `base` names
/// Throws ConfigError with one problem per line, in the sweep file with line and column: unknown keys, values that the config
/// refuses alone or together with others, empty or doubled lists, settings that name nothing.
Sweep parse_sweep(const std::string& text, const std::string& file, const std::vector<std::string>& overrides = {},
                  const std::string* base_text = nullptr);

}  // namespace lacuna
