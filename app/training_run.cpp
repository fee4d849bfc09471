#include "app/training_run.h"

#include <fmt/format.h>

#include <chrono>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <utility>

#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/environment.h"
#include "train/report.h"
#include "train/run_directory.h"
#include "train/table.h"

namespace lacuna {
namespace {

std::atomic<int> signal_received{0};     // what a handler may touch; lock-free
std::atomic<std::int64_t> signal_ns{0};  // when, on the monotonic clock
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<std::int64_t>::is_always_lock_free);

std::int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// The first one asks the loop to save and stop. A later one ends the program, unless it belongs to the first: timeout(1) signals
// its child and then the child's whole group, and a terminal's Ctrl-C beside a wrapper that passes it on comes twice too.
void on_signal(int number) {
  constexpr std::int64_t kSame = 500'000'000;
  int none = 0;
  if (signal_received.compare_exchange_strong(none, number))
    signal_ns = now_ns();
  else if (signal_ns != 0 && now_ns() - signal_ns > kSame)
    std::_Exit(128 + number);
}

// SIGINT and SIGTERM save and stop; a second one, half a second later or more, ends the program at once.
class SignalScope {
 public:
  SignalScope() {
    signal_received = 0;
    signal_ns = 0;
    for (int i = 0; i < 2; ++i) previous_[i] = std::signal(kSignals[i], on_signal);
  }
  ~SignalScope() {
    for (int i = 0; i < 2; ++i) std::signal(kSignals[i], previous_[i]);
  }
  SignalScope(const SignalScope&) = delete;
  SignalScope& operator=(const SignalScope&) = delete;

 private:
  static constexpr int kSignals[2] = {SIGINT, SIGTERM};
  void (*previous_[2])(int) = {};
};

Report make_report(Session& session, const TrainingRunResult& result, const RunDirectory& directory,
                   const std::vector<Parameter*>& parameters) {
  Report report;
  report.title = session.config.name;
  report.subtitle = fmt::format("{}, {}", device_name(session.device), utc_now());
  if (result.test) report.results.emplace_back(result.split, quality(*result.test, session.is_text()));
  report.results.emplace_back("sparsity of pruned weights", format_percent(result.sparsity));
  report.results.emplace_back("time per step", fmt::format("{:.2f} ms", result.step_ms));
  report.facts.emplace_back("steps", format_count(result.steps));
  report.facts.emplace_back("training time", format_duration(result.training_s));
  report.facts.emplace_back("stored weights", format_count(result.stored));
  report.facts.emplace_back(
      "FLOPs of a forward pass, per example",
      fmt::format("{} of {} dense ({})", format_si(result.flops.effective), format_si(result.flops.dense),
                  format_percent(result.flops.effective / result.flops.dense)));
  report.facts.emplace_back("weights + gradients + optimizer + patterns",
                            format_bytes(static_cast<double>(result.bytes.total())));
  report.facts.emplace_back("peak memory", format_bytes(static_cast<double>(result.peak_bytes)));
  report.metrics = read_metrics(directory.metrics());
  report.layers = layer_rows(parameters, num_slots(session.config));
  report.config_text = write_run_config(session.config);
  return report;
}

}  // namespace

std::string quality(const Evaluation& e, bool is_text) {
  return is_text ? fmt::format("{:.4f} bits per byte", e.bits_per_target())
                 : fmt::format("{:.2f} % accuracy", 100 * e.accuracy);
}

TrainingRunResult run_config(const RunConfig& config, const std::optional<std::filesystem::path>& resume,
                             const std::vector<std::string>& command_line) {
  const SignalScope signals;
  Session session = open_session(config);
  const std::unique_ptr<Trainer> owned = make_trainer(session);  // all that can be refused is, before a file is made
  Trainer& trainer = *owned;
  const RunDirectory directory =
      resume ? open_run_directory(*resume) : create_run_directory(config.output_dir, config.name);
  std::vector<std::string> notes;
  if (resume) {
    const std::int64_t step =
        resume_run(trainer, directory.checkpoints(), config.seed,
                   [&](const std::string& problem) { notes.push_back("passed over: " + problem); });
    notes.push_back(step > 0 ? fmt::format("resumed at step {}", step)
                             : "no checkpoint yet: starting from the beginning");
  }
  const std::string config_text = write_run_config(config);
  if (!resume) {
    directory.write_config(config_text);
    directory.write_environment(describe_environment(session.device, command_line));
  }
  MetricsWriter metrics(directory.metrics(), directory.events(), resume ? std::optional(trainer.step()) : std::nullopt);
  AppendFile log(directory.log());
  const auto say = [&](const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
    log.append(line + "\n");
  };
  say(fmt::format("run {}", directory.root.string()));
  say(fmt::format("{} on {} ({}); {}; {} steps", config.name, to_string(session.device), device_name(session.device),
                  session.data.train->description(), format_count(trainer.total_steps())));
  for (const std::string& note : notes) say(note);
  say(layer_table(layer_rows(trainer.parameters(), num_slots(config))));

  Progress progress(stdout, session.items());
  RunContext context{trainer, metrics, progress, directory.checkpoints(), session.data.valid.get(), config.training};
  context.seed = config.seed;
  context.device = session.device;
  context.items_per_step = session.items_per_step();
  context.items = session.items();
  context.stop = &signal_received;
  context.forward_flops = [&session] { return forward_flops(session); };
  context.config_text = config_text;
  // Changed settings stand from their first checkpoint on: a run that fails before it, or diverges, keeps those it had.
  bool settings_stand = !resume || read_text_file(directory.config()) == config_text;
  context.after_save = [&] {
    if (std::exchange(settings_stand, true)) return;
    directory.write_config(config_text);
    say("settings changed: config.resolved.yaml is rewritten");
  };
  reset_peak_memory(session.device);

  const auto start = std::chrono::steady_clock::now();
  TrainingRunResult result;
  const RunSummary summary = run_training(context);
  result.training_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  result.end = summary.end;
  result.is_text = session.is_text();
  result.directory = directory.root;
  result.step_ms = summary.step_ms;
  result.steps = trainer.step();
  result.sparsity = trainer.sparsity();
  result.flops = forward_flops(session);
  result.bytes = training_bytes(trainer.parameters(), config);
  result.peak_bytes = memory_stats(session.device).peak_bytes;
  for (const Parameter* p : trainer.parameters()) result.stored += p->nnz();
  const auto stopped = [&] {
    say(fmt::format("stopped at step {}; continue with: lacuna train --resume {}", trainer.step(),
                    directory.root.string()));
    result.end = RunEnd::interrupted;
    return result;
  };
  if (summary.end == RunEnd::interrupted) return stopped();
  result.test = summary.last_valid;
  result.split = "valid";
  if (session.data.test) {
    result.test = trainer.evaluate(*session.data.test, 0, &signal_received);
    if (!result.test->complete) return stopped();
    result.split = "test";
    metrics.write(trainer.step(), evaluation_scalars("test", *result.test, session.is_text()));
  }
  if (trainer.pruner()) {
    say(layer_table(layer_rows(trainer.parameters(), num_slots(config))));
    say(trainer.pruner()->summary());
  }
  if (result.test) say(fmt::format("{}: {}", result.split, quality(*result.test, session.is_text())));
  write_report(directory.report(), make_report(session, result, directory, trainer.parameters()));
  say(fmt::format("report {}", directory.report().string()));
  return result;
}

}  // namespace lacuna
