// The loop around Trainer: logging, evaluation, checkpoints, signals. Knows paths and writers, not the command line.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "train/metrics.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace lacuna {

/// Of a forward pass of one example; two per multiply-add.
struct ForwardFlops {
  double dense = 0;                         ///< were every weight dense
  double effective = 0;                     ///< with the patterns as they are
  std::map<std::string, double> by_weight;  ///< of the effective ones, by the parameter that they multiply with
};

struct RunContext {
  Trainer& trainer;
  MetricsWriter& metrics;
  Progress& progress;
  std::filesystem::path checkpoints;  ///< directory
  const Dataset* valid = nullptr;     ///< may be null: no evaluation while training
  TrainingConfig training;
  std::uint64_t seed = 0;
  Device device = kCpu;
  double items_per_step = 0;                    ///< tokens or images of one optimizer step
  std::string items = "items";                  ///< "tokens", "images"
  const std::atomic<int>* stop = nullptr;       ///< set to a signal's number by its handler
  std::function<ForwardFlops()> forward_flops;  ///< may be empty; called at topology updates, reads no device
  std::string config_text;                      ///< the resolved config, kept in every checkpoint
  std::function<void()> after_save;             ///< may be empty
};

enum class RunEnd : std::uint8_t { finished, interrupted };

struct RunSummary {
  RunEnd end = RunEnd::finished;
  double step_ms = 0;  ///< median over the last quarter of the log intervals, without evaluation and saving
  std::optional<Evaluation> last_valid;
};

/// Trains until the last step, or until *stop is set: then saves and returns `interrupted`. Throws DivergedError (nothing is
/// saved: the newest checkpoint is from before), CheckpointError, DataError, OutOfMemoryError.
RunSummary run_training(RunContext& context);

/// Saves a checkpoint of the trainer now, keeps the newest `keep`.
void save_run_checkpoint(RunContext& context);

/// Loads the newest checkpoint of the directory that verifies and moves the trainer there. Returns its step, 0 when there
/// is none; `note` gets a line for each one passed over.
std::int64_t resume_run(Trainer& trainer, const std::filesystem::path& checkpoints, std::uint64_t seed,
                        const std::function<void(const std::string&)>& note);

/// The names and values under which an evaluation is logged: "valid_loss_nats", "valid_accuracy", "valid_bits_per_byte".
Scalars evaluation_scalars(const std::string& split, const Evaluation& evaluation, bool is_text);

}  // namespace lacuna
