#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include "app/bench/output.h"
#include "app/bench/report.h"
#include "app/bench/runner.h"
#include "app/commands.h"
#include "core/errors.h"
#include "data/smtx_text.h"
#include "train/atomic_file.h"
#include "train/environment.h"
#include "train/table.h"

namespace lacuna {
namespace {

using namespace bench;
namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

/// A new folder for the results; nothing that is there is ever overwritten.
fs::path create_output(const std::string& given) {
  const fs::path path = given.empty() ? fs::path("runs/bench-kernels") / utc_now(true) : fs::path(given);
  std::error_code error;
  for (int i = 0;; ++i) {  // two runs of one second
    const fs::path folder = given.empty() && i > 0 ? fs::path(path.string() + "-" + std::to_string(i)) : path;
    if (folder.has_parent_path()) fs::create_directories(folder.parent_path(), error);
    if (error) throw ConfigError("--out", fmt::format("{}: {}", folder.string(), error.message()));
    if (fs::create_directory(folder, error)) return folder;
    if (error) throw ConfigError("--out", fmt::format("{}: {}", folder.string(), error.message()));
    if (!given.empty()) throw ConfigError("--out", fmt::format("{} exists; must be a new folder", given));
  }
}

std::vector<Contender> chosen_contenders(const Options& options) {
  std::vector<Contender> chosen;
  std::string names;
  for (const Contender& c : contenders()) {
    if (matches(options.contenders, c.name)) chosen.push_back(c);
    if (names.find(c.name) == std::string::npos) names += (names.empty() ? "" : ", ") + c.name;
  }
  for (const Contender& c : ablations())
    if (!options.contenders.empty() && matches(options.contenders, c.name)) chosen.push_back(c);
  if (chosen.empty())
    throw ConfigError("--contenders", fmt::format("'{}' names none of {}", options.contenders, names));
  return chosen;
}

/// Loading a matrix leaves it in the folder too, for others to measure the same: transformer/a/b as transformer_a_b.smtx.
void save_when_loaded(std::vector<MatrixCase>& cases, const fs::path& folder) {
  for (MatrixCase& c : cases) {
    std::string name = c.name + ".smtx";
    std::replace(name.begin(), name.end(), '/', '_');
    c.load = [load = c.load, path = folder / name] {
      const TopologyPtr pattern = load();
      write_file_atomically(path, format_smtx(*pattern));
      return pattern;
    };
  }
}

Device open_device(const std::string& text) {
  try {
    return parse_device(text);
  } catch (const Error& error) {
    throw ConfigError("--device", error.what());
  }
}

Json options_json(const Options& o, const TimingBudget& budget) {
  return {{"suite", o.suite},
          {"smtx", o.smtx},
          {"ops", o.ops},
          {"dtypes", o.dtypes},
          {"patterns", o.patterns},
          {"m", o.m},
          {"k", o.k},
          {"n", o.n},
          {"batch", o.batch},
          {"sparsity", o.sparsity},
          {"filter", o.filter},
          {"quick", o.quick},
          {"seed", o.seed},
          {"contenders", o.contenders},
          {"budget_ms", budget.seconds * 1e3}};
}

ReportText report_text(const Options& options, const DeviceLimits& limits, const Json& environment, int num_problems) {
  ReportText text;
  text.title = options.suite.empty() ? "Kernels" : "Kernels: " + options.suite;
  text.subtitle = fmt::format("{}, {}", limits.name, environment.value("date_utc", ""));
  const auto fact = [&](const char* label, std::string value) { text.facts.emplace_back(label, std::move(value)); };
  fact("command", fmt::format("{}", fmt::join(options.command_line, " ")));
  fact("problems", format_count(num_problems));
  fact("built from", environment.value("git", ""));
  if (environment["cuda_driver"].is_string()) {
    fact("CUDA", fmt::format("runtime {}, driver {}", environment.value("cuda_runtime", ""),
                             environment.value("cuda_driver", "")));
  }
  if (limits.f32_flops > 0) {
    fact("peak of f32, TF32, bf16",
         fmt::format("{}flop/s, {}flop/s, {}flop/s (highest clock times multiprocessors times what one does)",
                     format_si(limits.f32_flops), format_si(limits.tf32_flops), format_si(limits.bf16_flops)));
  }
  if (limits.l1_bytes_per_second > 0)
    fact("L1", format_si(limits.l1_bytes_per_second) + "B/s (128 bytes per clock and multiprocessor)");
  fact("copy, measured", format_si(limits.copy_bytes_per_second) + "B/s, read plus written");
  fact("operands", "rotate through twice the last-level cache; medians over blocks of calls, contenders in turns");
  fact("checked", "each contender against f64 before it is timed, on all rows or a stated sample");
  return text;
}

}  // namespace

int bench_kernels_command(const bench::Options& options) {
  const auto start = std::chrono::steady_clock::now();
  const Device device = open_device(options.device);
  const std::vector<Contender> field = chosen_contenders(options);
  std::vector<MatrixCase> cases = plan_cases(options, device);
  const TimingBudget budget = budget_of(options, device);
  const fs::path folder = create_output(options.out);
  if (options.save_patterns) save_when_loaded(cases, folder);
  const DeviceLimits limits = measured_limits(device);
  fmt::print("{} ({}): {} matrices, {:g} ms per contender and problem, results in {}\n", limits.name, to_string(device),
             cases.size(), budget.seconds * 1e3, folder.string());
  std::fflush(stdout);

  const std::vector<Measurement> measurements =
      run_cases(cases, options, device, field, [](const std::vector<Measurement>& lines) {
        if (!lines.empty()) fmt::print("{}\n", problem_line(lines));
        std::fflush(stdout);  // an interrupted run leaves what it found on the console
      });
  const Summary summary = summarize(measurements, limits);
  const Json environment = describe_environment(device, options.command_line);
  write_file_atomically(folder / "results.csv", to_csv(measurements, limits));
  write_file_atomically(
      folder / "results.json",
      to_json(measurements, summary, limits, environment, options_json(options, budget)).dump(1) + "\n");
  write_file_atomically(folder / "report.html", render_html(report_text(options, limits, environment, summary.problems),
                                                            summary, measurements));

  fmt::print("\n{}", summary_text(summary, measurements));
  for (const auto& [label, value] : headline(summary)) fmt::print("{}: {}\n", label, value);
  fmt::print("{} problems in {:.1f} s, {} failed checks, {} errors; {}\n", summary.problems,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), summary.failed,
             summary.errors, (folder / "report.html").string());
  // A baseline that cannot run a shape is news, not a failure of ours; a wrong result is, whoever made it.
  bool ours_broken = false;
  for (const Measurement& m : measurements)
    ours_broken = ours_broken || (m.status == Status::error && m.kind == Kind::ours);
  return summary.failed > 0 || ours_broken ? kExitRuntime : kExitDone;
}

}  // namespace lacuna
