// When to prune and how much, as pure functions of the step.
#pragma once

#include <cstdint>

#include "pruning/pruning_config.h"

namespace lacuna {

/// Zhu & Gupta 2017: s_f + (s_i - s_f) (1 - clamp((t - t0) / (t1 - t0), 0, 1))^3. Uses t as it is, not JaxPruner's t + 1:
/// sparsity is s_i at `begin` and exactly s_f from `end` on.
double cubic_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity);

/// Sparsity that holds from `step` on; 0 before begin_step.
double target_sparsity(const PruningConfig& config, std::int64_t step);

/// Whether a pruning happens before the forward pass of `step` (0-based): at begin_step and, for the cubic schedule, every
/// `frequency` steps after it up to end_step, and at end_step itself. random prunes once, at begin_step.
bool pruning_due(const PruningConfig& config, std::int64_t step);

/// The last step at which pruning_due holds.
std::int64_t last_pruning_step(const PruningConfig& config);

}  // namespace lacuna
