#include "optim/lr_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/errors.h"

namespace lacuna {
namespace {

double after_warmup(const ConstantScheduleConfig&, std::int64_t, std::int64_t) { return 1.0; }

double after_warmup(const CosineScheduleConfig& c, std::int64_t step, std::int64_t total_steps) {
  const double span = static_cast<double>(std::max<std::int64_t>(total_steps - 1 - c.warmup_steps, 1));
  const double progress = std::clamp(static_cast<double>(step - c.warmup_steps) / span, 0.0, 1.0);
  return c.final_factor + (1.0 - c.final_factor) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double after_warmup(const ReciprocalSqrtScheduleConfig& c, std::int64_t step, std::int64_t) {
  return std::sqrt(static_cast<double>(c.warmup_steps) / static_cast<double>(step + 1));
}

double after_warmup(const StepScheduleConfig& c, std::int64_t step, std::int64_t) {
  const auto passed =
      std::count_if(c.milestones.begin(), c.milestones.end(), [&](std::int64_t m) { return m <= step; });
  return std::pow(c.gamma, static_cast<double>(passed));
}

}  // namespace

double lr_factor(const ScheduleConfig& config, std::int64_t step, std::int64_t total_steps) {
  if (step < 0 || total_steps <= 0)
    throw ValueError("lr_factor",
                     fmt::format("step {} of {}; steps count from 0, the total must be positive", step, total_steps));
  return std::visit(
      [&](const auto& c) {
        if (step < c.warmup_steps) return static_cast<double>(step + 1) / static_cast<double>(c.warmup_steps);
        return after_warmup(c, step, total_steps);
      },
      config);
}

}  // namespace lacuna
