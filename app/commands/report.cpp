#include "train/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/run_config.h"
#include "app/session.h"
#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/checkpoint_directory.h"
#include "train/interop/state.h"
#include "train/run_directory.h"
#include "train/table.h"

namespace lacuna {
namespace {

/// Whether a comes before b, with numbers inside of names as numbers: blocks.2 before blocks.10.
bool by_number(const LayerRow& a, const LayerRow& b) {
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  std::size_t i = 0, j = 0;
  while (i < a.name.size() && j < b.name.size()) {
    if (digit(a.name[i]) && digit(b.name[j])) {
      std::size_t i_end = i, j_end = j;
      while (i_end < a.name.size() && digit(a.name[i_end])) ++i_end;
      while (j_end < b.name.size() && digit(b.name[j_end])) ++j_end;
      const std::string x = a.name.substr(i, i_end - i), y = b.name.substr(j, j_end - j);
      if (x != y) return x.size() != y.size() ? x.size() < y.size() : x < y;
      i = i_end, j = j_end;
    } else if (a.name[i] != b.name[j]) {
      return a.name[i] < b.name[j];
    } else {
      ++i, ++j;
    }
  }
  return a.name.size() - i < b.name.size() - j;
}

/// Of the newest checkpoint that can be read, which a run that goes on may just be writing; empty without one.
std::vector<LayerRow> checkpoint_rows(const std::filesystem::path& checkpoints, int num_slots) {
  for (const CheckpointFile& file : list_checkpoints(checkpoints)) {
    std::vector<LayerRow> rows;
    try {
      for (const auto& [name, tensor] : interop::load_state(file.path, interop::Averages::ignored).tensors) {
        if (name.ends_with("running_mean") || name.ends_with("running_var")) continue;  // buffers
        rows.push_back({name, to_string(tensor.shape), tensor.shape.numel(), tensor.value.numel(), tensor.is_sparse(),
                        tensor.value.nbytes() * static_cast<std::size_t>(2 + num_slots) +
                            (tensor.is_sparse() ? tensor.topology->bytes() : 0)});
      }
    } catch (const Error&) {
      continue;
    }
    std::sort(rows.begin(), rows.end(), by_number);
    return rows;
  }
  return {};
}

/// "NVIDIA H100, 2025-01-31T12:00:00Z" of env.json; "" where that cannot be read.
std::string machine_of(const std::filesystem::path& environment) {
  try {
    const auto json = nlohmann::json::parse(read_text_file(environment));
    return fmt::format("{}, {}", json.value("device_name", ""), json.value("date_utc", ""));
  } catch (const std::exception&) {
    return "";
  }
}

}  // namespace

int report_command(const ReportArguments& arguments) {
  const std::string& run = arguments.run;
  const RunDirectory directory{run};
  for (const auto& file : {directory.metrics(), directory.config()})
    if (!std::filesystem::is_regular_file(file))
      throw DataError(
          "report", fmt::format("'{}' is missing; must be a run directory with its metrics and config", file.string()));
  Report report;
  report.config_text = read_text_file(directory.config());
  const RunConfig config = parse_run_config(report.config_text, directory.config().string());
  report.title = config.name;
  const std::string machine = machine_of(directory.environment());
  report.subtitle = machine.empty() ? run : fmt::format("{}, {}", run, machine);
  report.metrics = read_metrics(directory.metrics());
  if (report.metrics.empty())
    throw DataError("report", fmt::format("'{}' holds no record yet", directory.metrics().string()));
  std::map<std::string, double> newest;
  for (const MetricsRecord& record : report.metrics)
    for (const auto& [key, value] : record.values) newest[key] = value;
  const auto result = [&](const char* key, const char* label, const auto& text) {
    if (const auto found = newest.find(key); found != newest.end())
      report.results.emplace_back(label, text(found->second));
  };
  const auto percent = [](double x) { return format_percent(x, 2); };
  result("test_accuracy", "test accuracy", percent);
  result("test_bits_per_byte", "test bits per byte", [](double x) { return fmt::format("{:.4f}", x); });
  result("sparsity", "sparsity of pruned weights", [](double x) { return format_percent(x); });
  result("step_time_ms", "time per step, last", [](double x) { return fmt::format("{:.2f} ms", x); });
  report.facts.emplace_back("steps", format_count(report.metrics.back().step));
  report.layers = checkpoint_rows(directory.checkpoints(), num_slots(config));
  write_report(directory.report(), report);
  fmt::print("{}\n", directory.report().string());
  return kExitDone;
}

}  // namespace lacuna
