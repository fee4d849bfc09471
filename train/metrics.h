// Metrics of a run: one JSON object per line in metrics.jsonl, and the same numbers as TensorBoard scalars.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "train/append_file.h"
#include "train/tensorboard.h"

namespace lacuna {

/// One line of metrics.jsonl: {"step": 20, "train_loss": 2.31, "step_time_ms": 14.2}. Keys end in their unit unless the
/// number has none. A number that is not finite is null in the file and NaN here.
///
/// Histograms stand beside the numbers: {"step": 20, "kept_magnitudes/w": {"low": 0, "high": 0.5, "counts": [3, 1]}}.
struct MetricsRecord {
  std::int64_t step = 0;
  Scalars values;
  std::vector<Histogram> histograms = {};
};

class MetricsWriter {
 public:
  /// Appends to `jsonl`, and to a new event file in `event_directory` unless that is empty. With `resume_step`, records
  /// of later steps are removed from both first, and what is there of that step is not written again, so that a resumed
  /// run doubles none. Throws Error, DataError.
  MetricsWriter(const std::filesystem::path& jsonl, const std::filesystem::path& event_directory,
                std::optional<std::int64_t> resume_step = std::nullopt);

  /// Appends one record, whole or not at all. Throws Error when it cannot.
  void write(const MetricsRecord& record);
  void write(std::int64_t step, const Scalars& values) { write(MetricsRecord{step, values}); }

 private:
  std::int64_t resume_step_ = -1;
  std::set<std::string> resumed_keys_;  // of the records of resume_step_ that are there already
  AppendFile file_;
  std::optional<EventWriter> events_;
};

/// One line, with its line feed.
std::string to_json_line(const MetricsRecord& record);

/// All records of a file; a last line torn by a kill is left out. Throws DataError on any other line that is no record.
std::vector<MetricsRecord> read_metrics(const std::filesystem::path& jsonl);

}  // namespace lacuna
