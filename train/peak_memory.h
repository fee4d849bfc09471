// The memory that a training step takes at its peak, found without computing anything.
#pragma once

#include <vector>

#include "train/trainer.h"

namespace lacuna {

struct PeakMemory {
  std::size_t before = 0;  ///< bytes live on the device before the step: weights, patterns, what else the process holds
  std::size_t peak = 0;    ///< most bytes live during it
  std::vector<MemoryBlocks> blocks;  ///< what the step itself had made by then and still held, by op, the largest first
};

/// Two training steps of `model` as it is now (its patterns, its parameters' state), run dry (core/dry_run.h): the host's
/// side of the trainer's steps with every allocation counted as the device's allocator counts them, and no kernel. Pruning
/// is not among it; nor are batches that a loader has ready. Parameters, buffers and slots are as before afterwards, but
/// gradients are dropped; derived data of patterns that training needs is built.
///   inputs        the shape of one batch's inputs      num_targets  of one batch
///   tokens        inputs are tokens (i32), not images
///   keep_gradient_pairs  as a step in which RigL grows by gradient
PeakMemory peak_of_step(Module& model, const TrainerConfig& config, const Shape& inputs, std::int64_t num_targets,
                        bool tokens, Device device, bool keep_gradient_pairs = false);

}  // namespace lacuna
