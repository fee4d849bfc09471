#include "train/run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/errors.h"
#include "train/checkpoint.h"
#include "train/checkpoint_directory.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

bool is_due(std::int64_t step, std::int64_t every) { return every > 0 && step % every == 0; }

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

bool is_text(const RunContext& c) { return c.items == "tokens"; }

// One run of the loop: what is measured between two log points.
class Loop {
 public:
  explicit Loop(RunContext& context) : c_(context), trainer_(context.trainer) {}

  RunSummary run() {
    start_interval();
    while (!trainer_.finished()) {
      if (c_.stop && c_.stop->load() != 0) return interrupted();
      trainer_.advance();
      check_host_side();
      note_capture();
      record_topology();
      const std::int64_t step = trainer_.step();
      const bool last = trainer_.finished();
      if (last || is_due(step, c_.training.log_every)) log();
      if (c_.valid && !last && is_due(step, c_.training.eval_every)) evaluate(c_.training.eval_batches, nullptr);
      if (last || is_due(step, c_.training.checkpoint_every)) save();
    }
    if (c_.valid && !evaluate(0, c_.stop)) return interrupted();
    c_.progress.finish();
    RunSummary summary = summarise();
    summary.end = RunEnd::finished;
    return summary;
  }

 private:
  RunSummary interrupted() {
    c_.progress.message(fmt::format("signal {}: saving at step {}", c_.stop->load(), trainer_.step()));
    save();
    c_.progress.finish();
    RunSummary summary = summarise();
    summary.end = RunEnd::interrupted;
    return summary;
  }

  RunSummary summarise() const {
    // The last quarter: the topology has settled there, and warm-up effects are over.
    const std::vector<double> settled(step_ms_.begin() + static_cast<std::ptrdiff_t>(step_ms_.size() * 3 / 4),
                                      step_ms_.end());
    return {RunEnd::finished, median(settled), last_valid_};
  }

  void start_interval() {
    interval_start_ = Clock::now();
    interval_first_step_ = trainer_.step();
    interval_wait_s_ = trainer_.data_wait_seconds();
    excluded_s_ = 0;
  }

  // On the CPU looking costs nothing, so the very step is named. On CUDA it would make the host wait: log points do it.
  void check_host_side() {
    if (c_.device.is_cpu() && trainer_.diverged()) diverged();
  }

  // The flag was raised on the device before that step's update, which it and all since left out.
  [[noreturn]] void diverged() {
    c_.progress.finish();
    throw DivergedError("train",
                        fmt::format("loss or gradient not finite in step {}; no update was applied since. Lower "
                                    "optimizer.lr, or set training.clip_norm; the newest checkpoint is from before",
                                    trainer_.first_bad_step()));
  }

  // Once, when the first capture has been tried.
  void note_capture() {
    if (capture_noted_ || !c_.training.cuda_graph) return;
    const CapturedStep* captured = trainer_.captured();
    if (!captured) {
      c_.progress.message(c_.device.is_cpu() ? "training.cuda_graph: nothing to capture on the CPU"
                                             : "training.cuda_graph: this optimizer's step cannot be captured");
    } else if (captured->is_captured()) {
      c_.progress.message(fmt::format("step {} captured as a CUDA graph, which keeps {:.1f} MiB", trainer_.step() - 1,
                                      static_cast<double>(captured->reserved_bytes()) / (1 << 20)));
    } else if (!captured->refusal().empty()) {
      c_.progress.message("steps are launched op by op: no CUDA graph: " + captured->refusal());
    } else {
      return;
    }
    capture_noted_ = true;
  }

  void log() {
    const std::int64_t steps = trainer_.step() - interval_first_step_;
    const IntervalMetrics m = trainer_.read_metrics();  // waits for the device: the interval ends here
    const double seconds = std::max(seconds_since(interval_start_) - excluded_s_, 1e-9);
    if (m.diverged || !std::isfinite(m.mean_loss)) diverged();
    const double per_step = seconds / static_cast<double>(std::max<std::int64_t>(steps, 1));
    step_ms_.push_back(per_step * 1e3);
    const double wait = trainer_.data_wait_seconds() - interval_wait_s_;
    c_.metrics.write(trainer_.step(),
                     {{"train_loss_nats", m.mean_loss},
                      {"gradient_norm", m.gradient_norm},
                      {"learning_rate", trainer_.lr(trainer_.step() - 1)},
                      {"sparsity", trainer_.sparsity()},
                      {"step_time_ms", per_step * 1e3},
                      {"data_wait_ms", wait * 1e3 / static_cast<double>(std::max<std::int64_t>(steps, 1))},
                      {c_.items + "_per_second", c_.items_per_step / per_step},
                      {"memory_live_bytes", static_cast<double>(memory_stats(c_.device).live_bytes)},
                      {"memory_peak_bytes", static_cast<double>(memory_stats(c_.device).peak_bytes)}});
    ProgressState state{trainer_.step(), trainer_.total_steps(),      m.mean_loss, trainer_.lr(trainer_.step() - 1),
                        std::nullopt,    c_.items_per_step / per_step};
    if (trainer_.sparsity() > 0) state.sparsity = trainer_.sparsity();
    c_.progress.update(state);
    start_interval();
  }

  // Only after an update, which has read the patterns already.
  void record_topology() {
    const std::optional<TopologyUpdate> update = trainer_.observer().take();
    if (!update) return;
    MetricsRecord record = update->record(trainer_.step());
    if (c_.forward_flops) {
      const ForwardFlops flops = c_.forward_flops();
      record.values.emplace_back("forward_flops_per_example", flops.effective);
      record.values.emplace_back("dense_forward_flops_per_example", flops.dense);
      for (const LayerUpdate& layer : update->layers)
        if (const auto weight = flops.by_weight.find(layer.name); weight != flops.by_weight.end())
          record.values.emplace_back("forward_flops/" + layer.name, weight->second);
    }
    c_.metrics.write(record);
  }

  // False when a signal came first. Only at the end may it: a resumed run evaluates there again, but not at a step before.
  bool evaluate(std::int64_t max_batches, const std::atomic<int>* stop) {
    const Clock::time_point start = Clock::now();
    const Evaluation evaluation = trainer_.evaluate(*c_.valid, max_batches, stop);
    if (!evaluation.complete) return false;
    last_valid_ = evaluation;
    c_.metrics.write(trainer_.step(), evaluation_scalars("valid", *last_valid_, is_text(c_)));
    c_.progress.message(is_text(c_) ? fmt::format("step {}: valid {:.4f} bits per byte", trainer_.step(),
                                                  last_valid_->bits_per_target())
                                    : fmt::format("step {}: valid loss {:.4f}, accuracy {:.2f} %", trainer_.step(),
                                                  last_valid_->loss, 100 * last_valid_->accuracy));
    excluded_s_ += seconds_since(start);
    return true;
  }

  void save() {
    const Clock::time_point start = Clock::now();
    if (trainer_.diverged()) diverged();
    try {
      save_run_checkpoint(c_);
    } catch (const NotFiniteError& error) {  // the last update overflowed: no loss has seen it yet
      c_.progress.finish();
      throw DivergedError("train", fmt::format("{}; lower optimizer.lr, or set training.clip_norm", error.what()));
    }
    excluded_s_ += seconds_since(start);
  }

  RunContext& c_;
  Trainer& trainer_;
  std::vector<double> step_ms_;
  std::optional<Evaluation> last_valid_;
  Clock::time_point interval_start_;
  std::int64_t interval_first_step_ = 0;
  double interval_wait_s_ = 0;
  bool capture_noted_ = false;
  double excluded_s_ = 0;  // evaluation and saving inside the interval
};

}  // namespace

Scalars evaluation_scalars(const std::string& split, const Evaluation& e, bool text) {
  Scalars scalars{{split + "_loss_nats", e.loss}, {split + "_accuracy", e.accuracy}};
  if (text) scalars.emplace_back(split + "_bits_per_byte", e.bits_per_target());
  return scalars;
}

RunSummary run_training(RunContext& context) { return Loop(context).run(); }

void save_run_checkpoint(RunContext& c) {
  TrainingState state;
  state.step = c.trainer.step();
  state.seed = c.seed;
  state.extra["config"] = c.config_text;
  state.extra["total_steps"] = c.trainer.total_steps();
  state.extra["interval_loss_sum"] = c.trainer.interval_loss_sum();
  state.extra["interval_steps"] = c.trainer.interval_steps();
  state.extra["topology_drops"] = c.trainer.observer().num_drops();
  state.tensors = c.trainer.observer().tensors();
  save_checkpoint(c.checkpoints / checkpoint_name(state.step), c.trainer.parameters(), c.trainer.buffers(), state);
  if (c.after_save) c.after_save();
  prune_checkpoints(c.checkpoints, static_cast<int>(c.training.keep_checkpoints));
}

std::int64_t resume_run(Trainer& trainer, const std::filesystem::path& checkpoints, std::uint64_t seed,
                        const std::function<void(const std::string&)>& note) {
  const LatestCheckpoint latest = find_latest(checkpoints);
  for (const std::string& problem : latest.problems) note(problem);
  if (!latest.file && !latest.problems.empty())
    throw CheckpointError("resume",
                          fmt::format("none of the {} checkpoints in '{}' verifies (newest: {}); remove them to "
                                      "start from the beginning",
                                      latest.problems.size(), checkpoints.string(), latest.problems.front()));
  if (!latest.file) return 0;
  const std::string name = latest.file->path.string();
  const TrainingState state = load_checkpoint(latest.file->path, trainer.parameters(), trainer.buffers());
  if (state.seed != seed)
    throw CheckpointError("resume", fmt::format("'{}': seed {}, the config says {}; a resumed run must keep its seed",
                                                name, state.seed, seed));
  if (state.step > trainer.total_steps())
    throw CheckpointError(
        "resume", fmt::format("'{}': {} steps are done, the config trains {}; it must train at least as many", name,
                              state.step, trainer.total_steps()));
  try {
    trainer.resume_at(state.step, state.extra.value("interval_loss_sum", 0.0),
                      state.extra.value("interval_steps", std::int64_t{0}));
    if (state.step > 0)  // nothing has been observed before the first step
      trainer.observer().resume(state.extra.value("topology_drops", std::int64_t{0}), state.tensors);
  } catch (const nlohmann::json::exception& error) {
    throw CheckpointError("resume", fmt::format("'{}': the training state is malformed: {}", name, error.what()));
  }
  return state.step;
}

}  // namespace lacuna
