// Learning-rate schedules as pure functions of the step: nothing to save, nothing to restore.
#pragma once

#include <cstdint>

#include "optim/schedule_config.h"

namespace lacuna {

/// Factor of the peak learning rate for the update of `step` (0-based) out of `total_steps`.
///   warm-up          (step + 1) / warmup_steps while step < warmup_steps
///   constant         1
///   cosine           from 1 at the end of warm-up to final_factor at the last step, half a cosine
///   reciprocal_sqrt  sqrt(warmup_steps / (step + 1)); Vaswani et al. 2017, section 5.3, scaled to 1 at its peak
///   step             gamma ^ (milestones at or before step)
/// Throws ValueError unless 0 <= step and 0 < total_steps.
double lr_factor(const ScheduleConfig& config, std::int64_t step, std::int64_t total_steps);

}  // namespace lacuna
