#include "pruning/sparsity_schedule.h"

#include <algorithm>

namespace lacuna {
namespace {

bool is_gradual(const PruningConfig& c) { return c.method == "magnitude" && c.schedule == "cubic"; }

}  // namespace

double cubic_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity) {
  if (step >= end) return final_sparsity;  // exactly, without rounding
  const double progress = std::clamp(static_cast<double>(step - begin) / static_cast<double>(end - begin), 0.0, 1.0);
  const double left = 1.0 - progress;
  return final_sparsity + (initial - final_sparsity) * left * left * left;
}

double target_sparsity(const PruningConfig& c, std::int64_t step) {
  if (c.method == "none" || step < c.begin_step) return 0.0;
  if (!is_gradual(c)) return c.sparsity;
  return cubic_sparsity(step, c.begin_step, c.end_step, c.initial_sparsity, c.sparsity);
}

bool pruning_due(const PruningConfig& c, std::int64_t step) {
  if (c.method == "none" || step < c.begin_step) return false;
  if (!is_gradual(c)) return step == c.begin_step;
  if (step > c.end_step) return false;
  return step == c.end_step || (step - c.begin_step) % c.frequency == 0;
}

std::int64_t last_pruning_step(const PruningConfig& c) { return is_gradual(c) ? c.end_step : c.begin_step; }

}  // namespace lacuna
