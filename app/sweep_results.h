// What a sweep's runs gave: one result per run, grouped over seeds, as table, CSV, JSON and one page of charts.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/sweep_file.h"
#include "app/training_run.h"

namespace lacuna {

/// Numbers of a finished run. What a run does not have is NaN, and null in files.
struct SweepNumbers {
  double accuracy = NAN;       ///< share that is right
  double bits_per_byte = NAN;  ///< of text
  double loss_nats = NAN;
  double sparsity = NAN;  ///< reached, of the pruned weights
  double forward_flops_per_example = NAN;
  double dense_forward_flops_per_example = NAN;
  double state_bytes = NAN;  ///< weights, gradients, optimizer state and patterns at the end
  double peak_bytes = NAN;
  double step_time_ms = NAN;  ///< median over the last quarter of the log points
  double training_s = NAN;    ///< of the last start, where a run was interrupted
};

struct SweepResult {
  std::string status;               ///< "finished", "failed" or "pending"
  std::string error;                ///< of a failed run
  std::filesystem::path directory;  ///< of the run, relative to the sweep's
  SweepNumbers numbers;
};

/// Numbers of a run that has just finished.
SweepNumbers numbers_of(const TrainingRunResult& result);
nlohmann::ordered_json to_json(const SweepResult& result);
/// Throws DataError naming `file` when it is no such result.
SweepResult result_from_json(const std::string& text, const std::filesystem::path& file);

struct MeanAndDeviation {
  double mean = NAN;
  double deviation = NAN;  ///< of the sample (n - 1); NaN for one run
};
MeanAndDeviation mean_and_deviation(const std::vector<double>& values);

/// Runs that differ in their seed alone.
struct SweepGroup {
  std::vector<std::pair<std::string, std::string>> settings;  ///< without the seed
  std::size_t num_runs = 0;                                   ///< in the sweep
  std::vector<SweepNumbers> finished;

  /// Over the finished runs.
  MeanAndDeviation over(double SweepNumbers::*number) const;
  /// Effective over dense FLOPs of a forward pass.
  MeanAndDeviation flops_share() const;
};
/// In order of first appearance; results[i] is that of sweep.runs[i].
std::vector<SweepGroup> group_runs(const Sweep& sweep, const std::vector<SweepResult>& results);

/// Whether finished runs are judged by bits per byte rather than by accuracy.
bool judged_by_bits(const std::vector<SweepGroup>& groups);

std::string sweep_table(const Sweep& sweep, const std::vector<SweepGroup>& groups);
/// A line per group, mean and standard deviation of everything.
std::string sweep_csv(const Sweep& sweep, const std::vector<SweepGroup>& groups);
/// A line per run.
std::string sweep_runs_csv(const Sweep& sweep, const std::vector<SweepResult>& results);
nlohmann::ordered_json sweep_json(const Sweep& sweep, const std::vector<SweepResult>& results);
/// A whole page: quality and cost against sparsity by what else differs, with error bars over seeds; the table; the runs.
///   sources  (title, text) of the files that made the sweep
std::string sweep_page(const Sweep& sweep, const std::vector<SweepResult>& results, const std::string& subtitle,
                       const std::vector<std::pair<std::string, std::string>>& sources);

}  // namespace lacuna
