// One training run from config to report, in its own directory. `train` does one, `compare` two.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "app/session.h"
#include "train/run.h"

namespace lacuna {

struct TrainingRunResult {
  RunEnd end = RunEnd::finished;
  bool is_text = false;  ///< bytes, so judged by bits per byte; else by accuracy
  std::filesystem::path directory;
  std::optional<Evaluation> test;  ///< on the test split, else on the validation split
  const char* split = "test";      ///< which of the two
  double step_ms = 0;              ///< median per step once the pattern has settled
  double training_s = 0;
  std::int64_t steps = 0;
  double sparsity = 0;
  TrainingBytes bytes;  ///< at the end of training
  ForwardFlops flops;   ///< at the end of training
  std::size_t peak_bytes = 0;
  std::int64_t stored = 0;  ///< numbers stored in weights
};

/// Trains `config` in a fresh directory, or on in `resume` from its newest valid checkpoint. SIGINT and SIGTERM save and end
/// it early. Writes everything a run leaves: config, environment, log, metrics, events, checkpoints, report.
TrainingRunResult run_config(const RunConfig& config, const std::optional<std::filesystem::path>& resume,
                             const std::vector<std::string>& command_line);

/// "1.234 bits per byte" or "93.21 % accuracy".
std::string quality(const Evaluation& evaluation, bool is_text);

}  // namespace lacuna
