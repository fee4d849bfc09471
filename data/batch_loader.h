// BatchLoader: the batches of a run in order, built ahead by worker threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "data/dataset.h"

namespace lacuna {

struct LoaderOptions {
  std::int64_t batch_size = 32;
  std::uint64_t seed = 0;
  bool shuffle = false;         ///< a new permutation for each epoch
  bool drop_last = false;       ///< leave out an epoch's last batch when it is short
  bool augment = false;         ///< training's view of the examples (AugmentKey)
  std::int64_t start_step = 0;  ///< the first batch that next() returns; a resumed run continues by it alone
  std::int64_t end_step = -1;   ///< batches from here on are neither built nor given out; -1 = endless
  int num_workers = 2;          ///< 0 builds in next() itself
  int queue_depth = 4;          ///< batches ready or in the making ahead of next()
};

/// The batch of step s is a pure function of (dataset, options, s): epoch s / batches_per_epoch(), the examples that
/// the epoch's permutation puts there, and random numbers keyed by (seed, epoch, example). Neither the number of
/// workers nor the step a run started at can change it.
class BatchLoader {
 public:
  /// Throws ValueError: an option out of range, or an epoch without a batch.
  BatchLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options);
  /// Waits only for the batches that are in the making.
  ~BatchLoader();
  BatchLoader(const BatchLoader&) = delete;
  BatchLoader& operator=(const BatchLoader&) = delete;

  /// The batch of step(), which then advances. An exception met while building it is thrown here, and step() stays: a
  /// further call throws it again. Throws ValueError at end_step. To be called by one thread.
  Batch next();

  std::int64_t step() const { return next_step_; }
  std::int64_t batches_per_epoch() const { return batches_per_epoch_; }
  std::int64_t epoch() const { return next_step_ / batches_per_epoch_; }  ///< the epoch of the batch that comes next
  const Dataset& dataset() const { return *dataset_; }
  const LoaderOptions& options() const { return options_; }
  /// Seconds that next() has spent without a batch at hand: what the data cost the run.
  double wait_seconds() const { return wait_seconds_; }

 private:
  struct Slot {
    bool ready = false;
    Batch batch;
    std::exception_ptr error;
  };
  using Permutation = std::shared_ptr<const std::vector<std::int64_t>>;

  Batch build(std::int64_t step);
  Permutation permutation(std::int64_t epoch);
  void work();
  void stop();
  bool may_claim() const;  // with mutex_ held

  std::shared_ptr<const Dataset> dataset_;
  LoaderOptions options_;
  std::int64_t batches_per_epoch_ = 0;
  double wait_seconds_ = 0;

  std::mutex permutation_mutex_;
  std::vector<std::pair<std::int64_t, Permutation>> permutations_;  // of the last two epochs asked for

  std::mutex mutex_;  // guards all below, but next_step_ may be read by the thread that calls next()
  std::condition_variable slot_ready_;
  std::condition_variable slot_free_;
  std::vector<Slot> slots_;        // step s lives in slot s % queue_depth
  std::int64_t next_step_ = 0;     // next to be given out
  std::int64_t claimed_step_ = 0;  // next to be built
  bool stopping_ = false;
  std::vector<std::jthread> workers_;  // last, so that they end first
};

}  // namespace lacuna
