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
#include "train/run_lock.h"
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

// A run under way: what it trains and where it writes.
class TrainingRun {
 public:
  /// All that can be refused is refused before a file is made or changed.
  TrainingRun(const RunConfig& config, const std::optional<std::filesystem::path>& resume)
      : config_(config),
        config_text_(write_run_config(config)),
        session_(open_session(config)),
        trainer_(make_trainer(session_)),
        directory_(resume ? open_run_directory(*resume) : create_run_directory(config.output_dir, config.name)),
        lock_(directory_.root),
        resumed_(resume.has_value()) {}

  TrainingRunResult run(const std::vector<std::string>& command_line) {
    open_files(command_line);
    announce();
    TrainingRunResult result = train();
    const bool finished = result.end == RunEnd::finished && evaluate(result);
    if (!finished) {
      result.end = RunEnd::interrupted;
      say(fmt::format("stopped at step {}; continue with: lacuna train --resume {}", trainer_->step(),
                      directory_.root.string()));
      return result;
    }
    conclude(result);
    return result;
  }

 private:
  void say(const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
    log_->append(line + "\n");
  }

  std::string layers() const { return layer_table(layer_rows(trainer_->parameters(), num_slots(config_))); }

  /// Goes to the newest checkpoint of a run that is resumed; opens metrics and log behind it.
  void open_files(const std::vector<std::string>& command_line) {
    if (resumed_) {
      const std::int64_t step =
          resume_run(*trainer_, directory_.checkpoints(), config_.seed,
                     [&](const std::string& problem) { notes_.push_back("passed over: " + problem); });
      notes_.push_back(step > 0 ? fmt::format("resumed at step {}", step)
                                : "no checkpoint yet: starting from the beginning");
    } else {
      directory_.write_config(config_text_);
      directory_.write_environment(describe_environment(session_.device, command_line));
    }
    metrics_.emplace(directory_.metrics(), directory_.events(),
                     resumed_ ? std::optional(trainer_->step()) : std::nullopt);
    log_.emplace(directory_.log());
  }

  void announce() {
    say(fmt::format("run {}", directory_.root.string()));
    say(fmt::format("{} on {} ({}); {}; {} steps", config_.name, to_string(session_.device),
                    device_name(session_.device), session_.data.train->description(),
                    format_count(trainer_->total_steps())));
    for (const std::string& note : notes_) say(note);
    say(layers());
  }

  TrainingRunResult train() {
    Progress progress(stdout, session_.items());
    RunContext context{*trainer_,       *metrics_, progress, directory_.checkpoints(), session_.data.valid.get(),
                       config_.training};
    context.seed = config_.seed;
    context.device = session_.device;
    context.items_per_step = session_.items_per_step();
    context.items = session_.items();
    context.stop = &signal_received;
    context.forward_flops = [this] { return forward_flops(session_); };
    context.config_text = config_text_;
    // Changed settings stand from their first checkpoint on: a run that fails before it, or diverges, keeps those it had.
    bool settings_stand = !resumed_ || read_text_file(directory_.config()) == config_text_;
    context.after_save = [&] {
      if (std::exchange(settings_stand, true)) return;
      directory_.write_config(config_text_);
      say("settings changed: config.resolved.yaml is rewritten");
    };
    reset_peak_memory(session_.device);
    const auto start = std::chrono::steady_clock::now();
    const RunSummary summary = run_training(context);
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    TrainingRunResult result = state_after(summary);
    result.training_s = taken.count();
    return result;
  }

  /// What is known before the test set is looked at.
  TrainingRunResult state_after(const RunSummary& summary) {
    TrainingRunResult result;
    result.end = summary.end;
    result.is_text = session_.is_text();
    result.directory = directory_.root;
    result.test = summary.last_valid;
    result.split = "valid";
    result.step_ms = summary.step_ms;
    result.steps = trainer_->step();
    result.sparsity = trainer_->sparsity();
    result.flops = forward_flops(session_);
    result.bytes = training_bytes(trainer_->parameters(), config_);
    result.peak_bytes = memory_stats(session_.device).peak_bytes;
    for (const Parameter* p : trainer_->parameters()) result.stored += p->nnz();
    return result;
  }

  /// On the test split, where there is one. False when a signal ended it.
  bool evaluate(TrainingRunResult& result) {
    if (!session_.data.test) return true;
    result.test = trainer_->evaluate(*session_.data.test, 0, &signal_received);
    if (!result.test->complete) return false;
    result.split = "test";
    metrics_->write(trainer_->step(), evaluation_scalars("test", *result.test, session_.is_text()));
    return true;
  }

  void conclude(const TrainingRunResult& result) {
    if (trainer_->pruner()) {
      say(layers());
      say(trainer_->pruner()->summary());
    }
    if (result.test) say(fmt::format("{}: {}", result.split, quality(*result.test, session_.is_text())));
    write_report(directory_.report(), make_report(session_, result, directory_, trainer_->parameters()));
    say(fmt::format("report {}", directory_.report().string()));
  }

  const RunConfig& config_;
  std::string config_text_;
  Session session_;
  std::unique_ptr<Trainer> trainer_;
  RunDirectory directory_;
  RunLock lock_;
  bool resumed_;
  std::vector<std::string> notes_;  // of resuming
  std::optional<MetricsWriter> metrics_;
  std::optional<AppendFile> log_;
};

}  // namespace

std::string quality(const Evaluation& e, bool is_text) {
  return is_text ? fmt::format("{:.4f} bits per byte", e.bits_per_target())
                 : fmt::format("{:.2f} % accuracy", 100 * e.accuracy);
}

TrainingRunResult run_config(const RunConfig& config, const std::optional<std::filesystem::path>& resume,
                             const std::vector<std::string>& command_line) {
  const SignalScope signals;
  TrainingRun run(config, resume);
  return run.run(command_line);
}

}  // namespace lacuna
