// Trainer: one model, its data, optimizer and pruner, advanced step by step. No files, no console: train/run.h has those.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/upload.h"
#include "data/batch_loader.h"
#include "data/data_config.h"
#include "layers/module.h"
#include "optim/optimizer.h"
#include "optim/schedule_config.h"
#include "pruning/pruner.h"
#include "train/phase_timer.h"
#include "train/step_graph.h"
#include "train/topology_observer.h"
#include "train/training_config.h"

namespace lacuna {

struct TrainerConfig {
  std::uint64_t seed = 0;
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
  PruningConfig pruning;
  TrainingConfig training;
  int num_workers = 2;  ///< threads that build batches
  int prefetch = 4;     ///< batches kept ready
  ObserveConfig observe;
};

/// Means over what was evaluated.
struct Evaluation {
  double loss = 0;                 ///< cross entropy in nats per target, without label smoothing
  double accuracy = 0;             ///< share of targets that are the largest logit
  std::int64_t num_targets = 0;    ///< negative ones (padding) are not counted
  bool complete = true;            ///< false: stopped before the end, the means say nothing
  double bits_per_target() const;  ///< loss / ln 2; bits per byte for byte-level text
};

/// Losses since the last read. Reading waits for the device; nothing else in a step does.
struct IntervalMetrics {
  double mean_loss = 0;
  double gradient_norm = 0;  ///< of the last step, before clipping
  bool diverged = false;     ///< a loss or gradient was not finite; every update since was left out
};

class Trainer {
 public:
  /// The model is on `device` already, the data sets on the CPU; training.init_from is loaded into it. Throws ConfigError
  /// (globs that match nothing, a schedule that ends after the last step), DataError (a training set smaller than one
  /// batch), CheckpointError. `recorder` captures steps; null: CUDA's where training.cuda_graph says so, else none.
  Trainer(const TrainerConfig& config, Module& model, const DataSplits& data, Device device,
          std::unique_ptr<Recorder> recorder = nullptr);
  ~Trainer();

  std::int64_t step() const { return step_; }  ///< optimizer steps done
  std::int64_t total_steps() const { return total_steps_; }
  bool finished() const { return step_ >= total_steps_; }
  double lr(std::int64_t step) const;
  double sparsity() const;
  /// Null when nothing is pruned.
  const Pruner* pruner() const { return pruner_.get(); }
  /// What training prunes by: the config with epochs as steps.
  const PruningConfig& pruning() const { return config_.pruning; }
  /// One optimizer step: prune if due, then `accumulate` forward and backward passes, the guard, the updates, or in their
  /// place growth by gradient. `timer` may be null.
  void advance(PhaseTimer* timer = nullptr);
  IntervalMetrics read_metrics();
  bool diverged() const { return guard_.diverged(); }  ///< waits for the device
  /// The step (0-based) whose loss or gradient was the first not to be finite, once diverged(). Waits for the device.
  std::int64_t first_bad_step() const { return guard_start_ + guard_.num_good(); }
  /// How steps are captured; null when they are not to be.
  const CapturedStep* captured() const { return graph_ ? &graph_->captured() : nullptr; }
  /// Seconds the loop has waited for data so far.
  double data_wait_seconds() const;

  /// Over `dataset`, or its first `max_batches` batches when that is positive; with the moving average of the weights
  /// when one is kept. Changes nothing. Ends early, incomplete, once *stop is not 0.
  Evaluation evaluate(const Dataset& dataset, std::int64_t max_batches = 0, const std::atomic<int>* stop = nullptr);

  /// Patterns as the pruner changes them.
  TopologyObserver& observer() { return observer_; }

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  const std::vector<NamedBuffer>& buffers() const { return buffers_; }
  /// Continues after `step` steps: parameters, slots and buffers must have been loaded. Data order and random numbers are
  /// functions of (seed, step), so nothing else is needed. A run that diverged may go on from before.
  void resume_at(std::int64_t step, double interval_loss_sum, std::int64_t interval_steps);
  double interval_loss_sum() const { return loss_sum_.item(); }
  std::int64_t interval_steps() const { return interval_steps_; }

 private:
  void prune(PhaseTimer* timer);
  Batch load_batch(PhaseTimer* timer);
  /// Forward and backward of one batch; the loss goes into the step's.
  void micro_step(std::int64_t micro, const Batch& batch, RandomStream& random, PhaseTimer* timer);
  void update(const UpdateGuard& guard, bool grown);
  void plain_step(PhaseTimer* timer);
  void captured_step(PhaseTimer* timer);
  void make_graph(std::unique_ptr<Recorder> recorder);
  Var training_loss(const Batch& batch, RandomStream& random);
  void start_pruning();
  /// Leaves in the parameters the mean gradient over the next `batches` batches, which training then sees again; buffers
  /// are as before.
  void collect_gradients(std::int64_t batches);
  /// Whether patterns grew by this step's gradient, in place of the optimizer's update.
  bool grow_if_due(PhaseTimer* timer);
  LoaderOptions loader_options() const;
  void start_loader();

  TrainerConfig config_;
  Module& model_;
  DataSplits data_;
  Device device_;
  std::vector<Parameter*> parameters_;
  std::vector<NamedBuffer> buffers_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<Pruner> pruner_;
  TopologyObserver observer_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<StepGraph> graph_;
  GradientGuard guard_;
  std::int64_t guard_start_ = 0;  // the first step that guard_ inspected
  Uploader uploader_;
  Tensor step_loss_;  // mean over the micro-batches of this step
  Tensor loss_sum_;   // over the steps since read_metrics()
  std::int64_t interval_steps_ = 0;
  std::int64_t step_ = 0;
  std::int64_t total_steps_ = 0;
};

/// Logits of a batch of inputs, on their device.
using Predict = std::function<Tensor(const Tensor& inputs)>;
/// Evaluation of whatever predicts, for `lacuna eval`.
Evaluation evaluate(const Predict& predict, const Dataset& dataset, std::int64_t batch_size, Device device,
                    std::int64_t max_batches = 0, const std::atomic<int>* stop = nullptr);
/// Evaluation of a bare model, for examples.
Evaluation evaluate(Module& model, const Dataset& dataset, std::int64_t batch_size, Device device,
                    std::int64_t max_batches = 0, const std::atomic<int>* stop = nullptr,
                    TrainingPrecision precision = TrainingPrecision::f32);

}  // namespace lacuna
