#include "optim/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"

namespace lacuna {
namespace {

TEST(LrSchedule, ConstantWithWarmup) {
  const ScheduleConfig c = ConstantScheduleConfig{.warmup_steps = 4};
  EXPECT_DOUBLE_EQ(lr_factor(c, 0, 100), 0.25);
  EXPECT_DOUBLE_EQ(lr_factor(c, 3, 100), 1.0);
  EXPECT_DOUBLE_EQ(lr_factor(c, 99, 100), 1.0);
}

TEST(LrSchedule, CosineHitsBothEnds) {
  const ScheduleConfig c = CosineScheduleConfig{.warmup_steps = 10, .final_factor = 0.1};
  EXPECT_DOUBLE_EQ(lr_factor(c, 9, 111), 1.0);
  EXPECT_DOUBLE_EQ(lr_factor(c, 10, 111), 1.0);
  EXPECT_NEAR(lr_factor(c, 60, 111), 0.55, 1e-15);
  EXPECT_DOUBLE_EQ(lr_factor(c, 110, 111), 0.1);
}

TEST(LrSchedule, ReciprocalSqrtPeaksAtTheEndOfWarmup) {
  const ScheduleConfig c = ReciprocalSqrtScheduleConfig{.warmup_steps = 100};
  EXPECT_DOUBLE_EQ(lr_factor(c, 49, 1000), 0.5);
  EXPECT_DOUBLE_EQ(lr_factor(c, 99, 1000), 1.0);
  EXPECT_DOUBLE_EQ(lr_factor(c, 399, 1000), 0.5);
}

TEST(LrSchedule, StepMultipliesAtMilestones) {
  const ScheduleConfig c = StepScheduleConfig{.warmup_steps = 0, .milestones = {10, 20}, .gamma = 0.5};
  EXPECT_DOUBLE_EQ(lr_factor(c, 9, 100), 1.0);
  EXPECT_DOUBLE_EQ(lr_factor(c, 10, 100), 0.5);
  EXPECT_DOUBLE_EQ(lr_factor(c, 20, 100), 0.25);
}

TEST(LrSchedule, RefusesStepsOutOfRange) {
  EXPECT_THROW(lr_factor(ConstantScheduleConfig{}, -1, 10), ValueError);
  EXPECT_THROW(lr_factor(ConstantScheduleConfig{}, 0, 0), ValueError);
}

}  // namespace
}  // namespace lacuna
