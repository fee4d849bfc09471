// StepGraph: a training step that is captured once and replayed (core/captured_step.h), with fixed places for what changes
// from step to step: the batches and the step's number.
#pragma once

#include <memory>
#include <vector>

#include "core/captured_step.h"
#include "core/parameter.h"
#include "core/random.h"
#include "data/dataset.h"

namespace lacuna {

class StepGraph {
 public:
  /// `recorder` as CapturedStep's; `num_batches` in a step.
  StepGraph(Device device, std::unique_ptr<Recorder> recorder, std::int64_t num_batches);

  /// Copies a batch, on the device already, to its place. Another shape than before drops the recording.
  void load(std::int64_t index, const Batch& batch);
  const Batch& batch(std::int64_t index) const { return batches_[static_cast<std::size_t>(index)]; }
  /// What random numbers depend on; the step of RandomStream.
  void set_step(std::uint64_t step);
  /// For use in the work: keys complete themselves on the device where the work is recorded or replayed.
  RandomStream random(std::uint64_t seed) const;

  /// Runs, captures or replays `work`, which reads batch() and random() and does the same whenever it is called. A
  /// recording lasts as long as the parameters keep their patterns.
  CapturedStep::Ran run(const std::function<void()>& work, const std::vector<Parameter*>& parameters);
  /// Drops the recording and its memory: a change is ahead, or came, that no pattern shows.
  void invalidate() { captured_.invalidate(); }
  const CapturedStep& captured() const { return captured_; }

 private:
  CapturedStep captured_;
  std::vector<Batch> batches_;
  std::uint64_t step_ = 0;
  Tensor step_bits_;                   // 8 bytes on the device
  std::vector<TopologyPtr> patterns_;  // of the recording; held, so that no other pattern gets their addresses
};

}  // namespace lacuna
