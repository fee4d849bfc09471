#include "train/report.h"

#include <fmt/format.h>

#include <filesystem>

#include "app/commands.h"
#include "app/run_config.h"
#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/run_directory.h"
#include "train/table.h"

namespace lacuna {

int report_command(const std::string& run) {
  const RunDirectory directory{run};
  for (const auto& file : {directory.metrics(), directory.config()})
    if (!std::filesystem::is_regular_file(file))
      throw DataError(
          "report", fmt::format("'{}' is missing; must be a run directory with its metrics and config", file.string()));
  Report report;
  report.config_text = read_text_file(directory.config());
  const RunConfig config = parse_run_config(report.config_text, directory.config().string());
  report.title = config.name;
  report.subtitle = run;
  report.metrics = read_metrics(directory.metrics());
  if (report.metrics.empty())
    throw DataError("report", fmt::format("'{}' holds no record yet", directory.metrics().string()));
  report.facts.emplace_back("steps", format_count(report.metrics.back().step));
  for (const MetricsRecord& record : report.metrics)
    for (const auto& [key, value] : record.values) {
      if (key == "test_accuracy") report.results.emplace_back("test accuracy", format_percent(value, 2));
      if (key == "test_bits_per_byte") report.results.emplace_back("test bits per byte", fmt::format("{:.4f}", value));
    }
  write_report(directory.report(), report);
  fmt::print("{}\n", directory.report().string());
  return kExitDone;
}

}  // namespace lacuna
