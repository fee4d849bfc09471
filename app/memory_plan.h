// What `lacuna plan` says about memory: the peaks of the kinds of step that a run has, each found by a dry run.
#pragma once

#include <string>
#include <vector>

#include "app/session.h"
#include "train/peak_memory.h"

namespace lacuna {

struct MemoryPhase {
  std::string name;  ///< "dense", "first pruned step", "final sparsity", "growth by gradient"
  double sparsity = 0;
  PeakMemory memory;
};

struct MemoryPlan {
  std::vector<MemoryPhase> phases;  ///< in the order of training
  std::size_t pruning = 0;          ///< peak while patterns are made or changed; 0 without pruning
  std::size_t ready_batches = 0;  ///< what the loader holds ready beside it: on the CPU these are tensors of the device
  /// Most bytes that training will have in tensors of its device at once.
  std::size_t peak() const;
  const MemoryPhase& largest() const;
};

/// Prunes the session's model to the final sparsity at once (for a gradual schedule by way of its first two updates, for
/// SET and RigL with one exchange after it), makes the optimizer's state, and runs a step of each kind dry. `trainer` is the session's, fresh, and best without loader threads (data.num_workers 0): what they
/// hold would be counted as it happens to be; `num_workers` is what training will have.
MemoryPlan plan_memory(Session& session, Trainer& trainer, int num_workers);

}  // namespace lacuna
