#include <fmt/format.h>

#include <cstdio>

#include "app/commands.h"
#include "app/training_run.h"
#include "core/errors.h"
#include "train/run_directory.h"
#include "train/table.h"

namespace lacuna {
namespace {

std::string bytes(std::size_t count) { return format_bytes(static_cast<double>(count)); }

// The table of `compare`: what sparsity cost and gave against the same run without it.
std::string comparison(const TrainingRunResult& sparse, const TrainingRunResult& dense) {
  Table table({{"", Align::left},
               {fmt::format("{} sparse", format_percent(sparse.sparsity)), Align::right},
               {"dense twin", Align::right},
               {"sparse / dense", Align::right}});
  const auto row = [&](const char* name, const std::string& a, const std::string& b, double ratio) {
    table.add_row({name, a, b, fmt::format("{:.3f}", ratio)});
  };
  if (sparse.test && dense.test) {
    if (sparse.is_text)
      row("bits per byte", fmt::format("{:.4f}", sparse.test->bits_per_target()),
          fmt::format("{:.4f}", dense.test->bits_per_target()),
          sparse.test->bits_per_target() / dense.test->bits_per_target());
    else
      row("accuracy", format_percent(sparse.test->accuracy, 2), format_percent(dense.test->accuracy, 2),
          sparse.test->accuracy / dense.test->accuracy);
  }
  const auto byte_row = [&](const char* name, std::size_t a, std::size_t b) {
    row(name, bytes(a), bytes(b), static_cast<double>(a) / static_cast<double>(b));
  };
  byte_row("weights", sparse.bytes.weights, dense.bytes.weights);
  byte_row("gradients", sparse.bytes.gradients, dense.bytes.gradients);
  if (dense.bytes.optimizer > 0) byte_row("optimizer state", sparse.bytes.optimizer, dense.bytes.optimizer);
  table.add_row({"patterns", bytes(sparse.bytes.topology), bytes(dense.bytes.topology), ""});
  byte_row("all of these", sparse.bytes.total(), dense.bytes.total());
  row("step time, settled", fmt::format("{:.2f} ms", sparse.step_ms), fmt::format("{:.2f} ms", dense.step_ms),
      sparse.step_ms / dense.step_ms);
  row("whole training", format_duration(sparse.training_s), format_duration(dense.training_s),
      sparse.training_s / dense.training_s);
  return table.text();
}

}  // namespace

int train_command(const TrainArguments& a) {
  if (a.config.empty() && a.resume.empty())
    throw ConfigError("train", "no config; must be a YAML file, or --resume RUN_DIRECTORY");
  std::optional<std::filesystem::path> resume;
  std::string path = a.config;
  std::vector<std::string> overrides = a.overrides;
  if (!a.resume.empty()) {
    resume = a.resume;
    // With --resume the first word may already be an override.
    if (!path.empty() && path.find('=') != std::string::npos) {
      overrides.insert(overrides.begin(), path);
      path.clear();
    }
    if (path.empty()) path = open_run_directory(*resume).config().string();
  }
  const TrainingRunResult result = run_config(load_run_config(path, overrides), resume, a.command_line);
  return result.end == RunEnd::interrupted ? kExitInterrupted : kExitDone;
}

int compare_command(const ConfigArguments& a) {
  const RunConfig sparse_config = load_run_config(a.config, a.overrides);
  if (sparse_config.pruning.method == "none")
    throw ConfigError("compare", a.config + " prunes nothing; set pruning.method, or there is no twin to compare with");
  RunConfig dense_config = sparse_config;
  dense_config.pruning = PruningConfig{};
  dense_config.name += "_dense_twin";
  fmt::print("== 1 of 2: sparse\n");
  const TrainingRunResult sparse = run_config(sparse_config, std::nullopt, a.command_line);
  const auto interrupted = [] {
    fmt::print("that goes on with this run alone; for the comparison, lacuna compare begins anew\n");
    return kExitInterrupted;
  };
  if (sparse.end == RunEnd::interrupted) return interrupted();
  fmt::print("\n== 2 of 2: its dense twin, trained for the same steps\n");
  const TrainingRunResult dense = run_config(dense_config, std::nullopt, a.command_line);
  if (dense.end == RunEnd::interrupted) return interrupted();
  fmt::print("\n{}\n", comparison(sparse, dense));
  fmt::print("reports  {}\n         {}\n", (sparse.directory / "report.html").string(),
             (dense.directory / "report.html").string());
  fmt::print("next     lacuna bench step {}     where a step's time goes\n", a.config);
  fmt::print("         lacuna train {} pruning.sparsity=0.95     a sparser one\n", a.config);
  return kExitDone;
}

}  // namespace lacuna
