// Learning-rate schedules: a factor in [0, 1] of the optimizer's lr, by step.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

#include "core/field.h"

namespace lacuna {

struct ConstantScheduleConfig {
  static constexpr const char* kType = "constant";
  std::int64_t warmup_steps = 0;
};
struct CosineScheduleConfig {
  static constexpr const char* kType = "cosine";
  std::int64_t warmup_steps = 0;
  double final_factor = 0.0;
};
struct ReciprocalSqrtScheduleConfig {
  static constexpr const char* kType = "reciprocal_sqrt";
  std::int64_t warmup_steps = 10000;
};
struct StepScheduleConfig {
  static constexpr const char* kType = "step";
  std::int64_t warmup_steps = 0;
  std::vector<std::int64_t> milestones;
  double gamma = 0.1;
};

using ScheduleConfig =
    std::variant<ConstantScheduleConfig, CosineScheduleConfig, ReciprocalSqrtScheduleConfig, StepScheduleConfig>;

template <class V>
void describe(ConstantScheduleConfig& c, V&& v) {
  v("warmup_steps", c.warmup_steps, "Steps of linear warm-up from 0", non_negative());
}
template <class V>
void describe(CosineScheduleConfig& c, V&& v) {
  v("warmup_steps", c.warmup_steps, "Steps of linear warm-up from 0", non_negative());
  v("final_factor", c.final_factor, "Factor reached at the last step", range(0.0, 1.0));
}
template <class V>
void describe(ReciprocalSqrtScheduleConfig& c, V&& v) {
  v("warmup_steps", c.warmup_steps, "Steps of linear warm-up; the factor then falls as sqrt(warmup / step)",
    positive());
}
inline void validate(const StepScheduleConfig& c, const ReportProblem& problem) {
  for (std::size_t i = 0; i < c.milestones.size(); ++i)
    if (c.milestones[i] <= (i == 0 ? 0 : c.milestones[i - 1])) problem("milestones", "must be positive and ascend");
}
template <class V>
void describe(StepScheduleConfig& c, V&& v) {
  v("warmup_steps", c.warmup_steps, "Steps of linear warm-up from 0", non_negative());
  v("milestones", c.milestones, "Steps at which the factor is multiplied by gamma, ascending");
  v("gamma", c.gamma, "Multiplier at each milestone", range(0.0, 1.0));
}

}  // namespace lacuna
