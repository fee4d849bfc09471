#include "data/batch_loader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/errors.h"
#include "data/random_draws.h"

namespace lacuna {

BatchLoader::BatchLoader(std::shared_ptr<const Dataset> dataset, const LoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  if (options_.batch_size < 1 || options_.start_step < 0 || options_.num_workers < 0 || options_.queue_depth < 1) {
    throw ValueError("loader",
                     fmt::format("batch_size {}, start_step {}, num_workers {}, queue_depth {}; batch_size and "
                                 "queue_depth must be at least 1, the others at least 0",
                                 options_.batch_size, options_.start_step, options_.num_workers, options_.queue_depth));
  }
  const std::int64_t count = dataset_->num_examples();
  batches_per_epoch_ =
      options_.drop_last ? count / options_.batch_size : (count + options_.batch_size - 1) / options_.batch_size;
  if (batches_per_epoch_ == 0) {
    throw ValueError("loader", fmt::format("{}: {} examples give no batch of {}{}", dataset_->description(), count,
                                           options_.batch_size, options_.drop_last ? " (short ones are dropped)" : ""));
  }
  next_step_ = claimed_step_ = options_.start_step;
  slots_.resize(static_cast<std::size_t>(options_.queue_depth));
  try {
    for (int i = 0; i < options_.num_workers; ++i) workers_.emplace_back([this] { work(); });
  } catch (...) {  // no more threads to be had: those that run must still end
    stop();
    throw;
  }
}

BatchLoader::~BatchLoader() { stop(); }

void BatchLoader::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  slot_free_.notify_all();
}

BatchLoader::Permutation BatchLoader::permutation(std::int64_t epoch) {
  if (!options_.shuffle) return nullptr;
  const std::lock_guard lock(permutation_mutex_);
  for (const auto& [known, order] : permutations_) {
    if (known == epoch) return order;
  }
  auto order = std::make_shared<const std::vector<std::int64_t>>(
      random_permutation(dataset_->num_examples(), data_key(options_.seed, DataDraw::permutation, epoch)));
  // Prefetching straddles at most a few epochs; two are kept, and a third is only ever drawn anew, never wrong.
  if (permutations_.size() == 2) permutations_.erase(permutations_.begin());
  permutations_.emplace_back(epoch, order);
  return order;
}

Batch BatchLoader::build(std::int64_t step) {
  const OpScope scope("load_batch");  // of a worker's thread
  const std::int64_t epoch = step / batches_per_epoch_;
  const std::int64_t begin = step % batches_per_epoch_ * options_.batch_size;
  const std::int64_t end = std::min(begin + options_.batch_size, dataset_->num_examples());
  std::vector<std::int64_t> indices(static_cast<std::size_t>(end - begin));
  if (const Permutation order = permutation(epoch)) {
    std::copy(order->begin() + begin, order->begin() + end, indices.begin());
  } else {
    std::iota(indices.begin(), indices.end(), begin);
  }
  return dataset_->batch(indices, {options_.seed, epoch, options_.augment});
}

bool BatchLoader::may_claim() const {
  return claimed_step_ < next_step_ + options_.queue_depth &&
         (options_.end_step < 0 || claimed_step_ < options_.end_step);
}

void BatchLoader::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    slot_free_.wait(lock, [&] { return stopping_ || may_claim(); });
    if (stopping_) return;
    const std::int64_t step = claimed_step_++;
    lock.unlock();
    Slot made;
    try {
      made.batch = build(step);
    } catch (...) {
      made.error = std::current_exception();
    }
    made.ready = true;
    lock.lock();
    slots_[static_cast<std::size_t>(step % options_.queue_depth)] = std::move(made);
    slot_ready_.notify_one();
  }
}

Batch BatchLoader::next() {
  if (options_.end_step >= 0 && next_step_ >= options_.end_step) {
    throw ValueError("loader",
                     fmt::format("next() at step {}; the loader ends at step {}", next_step_, options_.end_step));
  }
  const auto begin = std::chrono::steady_clock::now();
  const auto waited = [&] {
    wait_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  if (workers_.empty()) {
    Batch batch = build(next_step_);
    ++next_step_;
    waited();
    return batch;
  }
  std::unique_lock lock(mutex_);
  Slot& slot = slots_[static_cast<std::size_t>(next_step_ % options_.queue_depth)];
  if (!slot.ready) {
    slot_ready_.wait(lock, [&] { return slot.ready; });
    waited();
  }
  if (slot.error) std::rethrow_exception(slot.error);
  const Batch batch = std::exchange(slot, Slot{}).batch;
  ++next_step_;
  lock.unlock();
  slot_free_.notify_one();
  return batch;
}

}  // namespace lacuna
