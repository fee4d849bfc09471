// lacuna sweep: every run of a grid, one after another, and a summary that is rewritten after each.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/data_shape.h"
#include "app/sweep_results.h"
#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/config/document.h"
#include "train/environment.h"
#include "train/run_directory.h"
#include "train/run_lock.h"
#include "train/table.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

// A sweep's files: what made it, its runs, its results.
struct SweepDirectory {
  fs::path root;
  fs::path sweep() const { return root / "sweep.yaml"; }
  fs::path base() const { return root / "base.yaml"; }
  fs::path overrides() const { return root / "overrides.json"; }
  fs::path runs() const { return root / "runs"; }
  fs::path result(const SweepRun& run) const { return runs() / run.label / "result.json"; }
  fs::path report() const { return root / "report.html"; }
};

struct Sources {
  std::string sweep, base;
  std::vector<std::string> overrides;
};

Sources read_sources(const SweepDirectory& directory) {
  for (const fs::path& file : {directory.sweep(), directory.base(), directory.overrides()})
    if (!fs::is_regular_file(file))
      throw DataError("sweep", fmt::format("'{}' is missing; must be a sweep's directory", file.string()));
  Sources sources{config::read_text(directory.sweep().string()), config::read_text(directory.base().string()), {}};
  const auto json = nlohmann::json::parse(read_text_file(directory.overrides()), nullptr, false);
  bool valid = json.is_array();
  for (std::size_t i = 0; valid && i < json.size(); ++i) valid = json[i].is_string();
  if (!valid) throw DataError("sweep", fmt::format("'{}' is no list of texts", directory.overrides().string()));
  sources.overrides = json.get<std::vector<std::string>>();
  return sources;
}

// The newest directory that a run of this label has begun in, to go on there.
std::optional<fs::path> begun(const fs::path& label_directory) {
  std::optional<fs::path> newest;
  std::error_code error;
  for (const auto& item : fs::directory_iterator(label_directory, error)) {
    const RunDirectory run{item.path()};
    if (!fs::is_directory(run.checkpoints()) || !fs::is_regular_file(run.config()) ||
        !fs::is_regular_file(run.environment()))
      continue;  // killed before it had begun
    if (!newest || item.path().filename() > newest->filename()) newest = item.path();
  }
  return newest;
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  return text;
}

class Runner {
 public:
  Runner(Sweep sweep, SweepDirectory directory, Sources sources, std::vector<std::string> command_line)
      : sweep_(std::move(sweep)),
        directory_(std::move(directory)),
        lock_(directory_.root),
        sources_(std::move(sources)),
        command_line_(std::move(command_line)),
        results_(sweep_.runs.size(), {"pending", "", "", {}}) {}

  int run() {
    fmt::print("sweep {}: {} runs\n", directory_.root.string(), sweep_.runs.size());
    bool interrupted = false;
    for (std::size_t i = 0; i < sweep_.runs.size() && !interrupted; ++i) {
      if (fs::is_regular_file(directory_.result(sweep_.runs[i]))) {
        results_[i] =
            result_from_json(read_text_file(directory_.result(sweep_.runs[i])), directory_.result(sweep_.runs[i]));
        fmt::print("\n== {} of {}: {}: finished before\n", i + 1, sweep_.runs.size(), sweep_.runs[i].label);
        continue;
      }
      fmt::print("\n== {} of {}: {}\n", i + 1, sweep_.runs.size(), sweep_.runs[i].label);
      std::fflush(stdout);
      interrupted = !train(i);
      write_summary();
    }
    write_summary();
    fmt::print("\n{}\n", sweep_table(sweep_, group_runs(sweep_, results_)));
    for (std::size_t i = 0; i < results_.size(); ++i)
      if (results_[i].status == "failed") fmt::print("failed   {}: {}\n", sweep_.runs[i].label, results_[i].error);
    fmt::print("report   {}\n", directory_.report().string());
    if (interrupted || exit_code_ != kExitDone)
      fmt::print("{}lacuna sweep --resume {}\n", interrupted ? "go on    " : "retry    ", directory_.root.string());
    return interrupted ? static_cast<int>(kExitInterrupted) : exit_code_;
  }

 private:
  // Returns false when it was interrupted by a signal.
  bool train(std::size_t i) {
    const SweepRun& run = sweep_.runs[i];
    RunConfig config = run.config;
    config.output_dir = directory_.runs().string();
    try {
      const TrainingRunResult done = run_config(config, begun(directory_.runs() / run.label), command_line_);
      results_[i].directory = fs::relative(done.directory, directory_.root);
      if (done.end == RunEnd::interrupted) return false;
      results_[i].numbers = numbers_of(done);
      results_[i].status = "finished";
      write_file_atomically(directory_.result(run), to_json(results_[i]).dump(2) + "\n");
    } catch (const std::exception& error) {
      std::fflush(stdout);
      fmt::print(stderr, "{}: {}\n", run.label, error.what());
      results_[i].status = "failed";
      results_[i].error = one_line(error.what());
      if (exit_code_ == kExitDone) exit_code_ = exit_code_of(error);
    }
    return true;
  }

  void write_summary() const {
    const std::vector<SweepGroup> groups = group_runs(sweep_, results_);
    write_file_atomically(directory_.root / "summary.csv", sweep_csv(sweep_, groups));
    write_file_atomically(directory_.root / "runs.csv", sweep_runs_csv(sweep_, results_));
    write_file_atomically(
        directory_.root / "summary.json",
        sweep_json(sweep_, results_).dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
    const auto finished =
        std::count_if(results_.begin(), results_.end(), [](const SweepResult& r) { return r.status == "finished"; });
    write_file_atomically(directory_.report(), sweep_page(sweep_, results_,
                                                          fmt::format("{} of {} runs finished, base {}, {}", finished,
                                                                      results_.size(), sweep_.config.base, utc_now()),
                                                          {{"Sweep", sources_.sweep}, {"Base config", sources_.base}}));
  }

  Sweep sweep_;
  SweepDirectory directory_;
  RunLock lock_;
  Sources sources_;
  std::vector<std::string> command_line_;
  std::vector<SweepResult> results_;
  int exit_code_ = kExitDone;
};

/// A data set that is not there would fail every run in turn: refused before anything is made.
void require_data(const Sweep& sweep) {
  for (std::size_t i = 0; i < sweep.runs.size(); ++i) {
    const DataConfig& data = sweep.runs[i].config.data;
    if (data_is_absent(data))
      throw DataError("sweep", fmt::format("run {} of {}: {}", i + 1, sweep.runs.size(), absence_of(data)));
  }
}

void list_runs(const Sweep& sweep) {
  std::vector<Table::Column> columns{{"run", Align::left}};
  for (const std::string& key : sweep.keys) columns.push_back({key, Align::left});
  Table table(columns);
  for (std::size_t i = 0; i < sweep.runs.size(); ++i) {
    std::vector<std::string> cells{std::to_string(i + 1)};
    for (const std::string& key : sweep.keys) {
      std::string value;
      for (const auto& [name, text] : sweep.runs[i].settings)
        if (name == key) value = text;
      cells.push_back(value);
    }
    table.add_row(std::move(cells));
  }
  fmt::print("{}: {} runs over {}\n{}", sweep.config.name, sweep.runs.size(), sweep.config.base, table.text());
}

}  // namespace

int sweep_command(const SweepArguments& a) {
  if (a.file.empty() == a.resume.empty())
    throw ConfigError("sweep", a.file.empty()
                                   ? "no sweep; must be a YAML file, or --resume DIRECTORY"
                                   : "a sweep file with --resume; the directory has its own, leave the file out");
  if (!a.resume.empty()) {
    const SweepDirectory directory{a.resume};
    Sources sources = read_sources(directory);
    Sweep sweep = parse_sweep(sources.sweep, directory.sweep().string(), sources.overrides, &sources.base);
    return Runner(std::move(sweep), directory, std::move(sources), a.command_line).run();
  }
  const std::string text = config::read_text(a.file);
  Sweep sweep = parse_sweep(text, a.file, a.overrides);
  if (a.dry_run) {
    list_runs(sweep);
    return kExitDone;
  }
  require_data(sweep);
  Sources sources{text, sweep.base_text, a.overrides};
  const SweepDirectory directory{create_fresh_directory(sweep.config.output_dir, sweep.config.name)};
  write_file_atomically(directory.sweep(), sources.sweep);
  write_file_atomically(directory.base(), sources.base);
  write_file_atomically(directory.overrides(), nlohmann::json(sources.overrides).dump() + "\n");
  return Runner(std::move(sweep), directory, std::move(sources), a.command_line).run();
}

}  // namespace lacuna
