// Optimizer updates against values worked out by hand from PyTorch's formulas.
#include "kernels/optim/optim.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace lacuna::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

template <class T>
class Optim : public ::testing::Test {
 protected:
  static constexpr double kTolerance = std::is_same_v<T, float> ? 2e-6 : 1e-12;
};
using Floats = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Optim, Floats);

TYPED_TEST(Optim, SgdPlain) {
  std::vector<TypeParam> value{1, -2}, grad{0.5, 4};
  sgd_update<TypeParam>(CpuStream{}, value.data(), grad.data(), nullptr, 2, 0.1, 0, 0, 0.5, false, true, {});
  // g = grad + 0.5 value = {1, 3}
  EXPECT_NEAR(value[0], 0.9, this->kTolerance);
  EXPECT_NEAR(value[1], -2.3, this->kTolerance);
}

TYPED_TEST(Optim, SgdMomentumTwoSteps) {
  for (const bool nesterov : {false, true}) {
    std::vector<TypeParam> value{1}, grad{2}, momentum{123};  // a first step must not read the buffer
    const double lr = 0.1, mu = 0.9, dampening = nesterov ? 0 : 0.25;
    sgd_update<TypeParam>(CpuStream{}, value.data(), grad.data(), momentum.data(), 1, lr, mu, dampening, 0, nesterov, true, {});
    const double after_first = nesterov ? 1 - 0.1 * (2 + 0.9 * 2) : 1 - 0.1 * 2;
    EXPECT_NEAR(momentum[0], 2, this->kTolerance);
    EXPECT_NEAR(value[0], after_first, this->kTolerance);
    grad[0] = -1;
    sgd_update<TypeParam>(CpuStream{}, value.data(), grad.data(), momentum.data(), 1, lr, mu, dampening, 0, nesterov, false, {});
    const double buffer = 0.9 * 2 - (1 - dampening);  // 0.8 with nesterov, 1.05 without
    EXPECT_NEAR(momentum[0], buffer, this->kTolerance);
    EXPECT_NEAR(value[0], after_first - 0.1 * (nesterov ? -1 + 0.9 * buffer : buffer), this->kTolerance);
  }
}

TYPED_TEST(Optim, AdamFirstStepMovesByLr) {
  // After step 1: m/bc1 = g, v/bc2 = g^2, so the step is lr * g / (|g| + eps).
  std::vector<TypeParam> value{1, 1}, grad{0.3, -20}, m(2), v(2);
  adam_update<TypeParam>(CpuStream{}, value.data(), grad.data(), m.data(), v.data(), 2, 0.01, 0.9, 0.999, 1e-8, 0, false, 1, {});
  EXPECT_NEAR(value[0], 0.99, 1e-6);
  EXPECT_NEAR(value[1], 1.01, 1e-6);
  EXPECT_NEAR(m[0], 0.03, this->kTolerance);
  EXPECT_NEAR(v[1], 0.4, 1e-6);
}

TYPED_TEST(Optim, AdamThirdStep) {
  // beta1 = beta2 = 0.5, t = 3: both corrections are 0.875; g = 1 + 0.5 * 2 = 2; m = 1.5, v = 3.
  std::vector<TypeParam> value{2}, grad{1}, m{1}, v{2};
  adam_update<TypeParam>(CpuStream{}, value.data(), grad.data(), m.data(), v.data(), 1, 0.1, 0.5, 0.5, 0.25, 0.5, false, 3, {});
  EXPECT_NEAR(m[0], 1.5, this->kTolerance);
  EXPECT_NEAR(v[0], 3.0, this->kTolerance);
  EXPECT_NEAR(value[0], 2 - 0.1 / 0.875 * 1.5 / (std::sqrt(3.0 / 0.875) + 0.25), this->kTolerance);
}

TYPED_TEST(Optim, AdamWDecaysTheValueOnly) {
  // The gradient stays 1: m = 1, v = 1.5; the value is first multiplied by 1 - 0.1 * 0.5.
  std::vector<TypeParam> value{2}, grad{1}, m{1}, v{2};
  adam_update<TypeParam>(CpuStream{}, value.data(), grad.data(), m.data(), v.data(), 1, 0.1, 0.5, 0.5, 0.25, 0.5, true, 3, {});
  EXPECT_NEAR(m[0], 1.0, this->kTolerance);
  EXPECT_NEAR(v[0], 1.5, this->kTolerance);
  EXPECT_NEAR(value[0], 2 * 0.95 - 0.1 / 0.875 * 1.0 / (std::sqrt(1.5 / 0.875) + 0.25), this->kTolerance);
}

TYPED_TEST(Optim, GuardScalesAndSkips) {
  float scale = 0.25f;
  std::int32_t skip = 0;
  const UpdateGuard<TypeParam> guard{&scale, &skip};
  std::vector<TypeParam> value{1}, grad{4}, m{0}, v{0}, momentum{3}, ema{5};
  sgd_update<TypeParam>(CpuStream{}, value.data(), grad.data(), nullptr, 1, 0.5, 0, 0, 0, false, false, guard);
  EXPECT_NEAR(value[0], 0.5, this->kTolerance);
  adam_update<TypeParam>(CpuStream{}, value.data(), grad.data(), m.data(), v.data(), 1, 0.1, 0.5, 0.5, 1e-8, 0, false, 1, guard);
  EXPECT_NEAR(m[0], 0.5, this->kTolerance);  // half of the scaled gradient, 1
  EXPECT_NEAR(value[0], 0.4, 1e-6);

  skip = 1;
  const TypeParam before = value[0];
  sgd_update<TypeParam>(CpuStream{}, value.data(), grad.data(), momentum.data(), 1, 0.5, 0.9, 0, 0, false, false, guard);
  adam_update<TypeParam>(CpuStream{}, value.data(), grad.data(), m.data(), v.data(), 1, 0.1, 0.5, 0.5, 1e-8, 0, false, 2, guard);
  ema_update<TypeParam>(CpuStream{}, ema.data(), value.data(), 1, 0.5, guard);
  EXPECT_EQ(value[0], before);
  EXPECT_EQ(momentum[0], TypeParam(3));
  EXPECT_NEAR(m[0], 0.5, this->kTolerance);
  EXPECT_EQ(ema[0], TypeParam(5));
  skip = 0;
  ema_update<TypeParam>(CpuStream{}, ema.data(), grad.data(), 1, 0.75, guard);  // the scale is for gradients alone
  EXPECT_NEAR(ema[0], 4.75, this->kTolerance);
}

TYPED_TEST(Optim, ClipFactor) {
  TypeParam sum = 25, norm = 0;
  float factor = 0;
  std::int32_t bad = 0;
  clip_factor<TypeParam>(CpuStream{}, &sum, 2.0, &norm, &factor, &bad);
  EXPECT_NEAR(norm, 5, this->kTolerance);
  EXPECT_NEAR(factor, 2.0 / (5 + 1e-6), 1e-7);
  clip_factor<TypeParam>(CpuStream{}, &sum, 10.0, &norm, &factor, &bad);
  EXPECT_EQ(factor, 1.0f);
  clip_factor<TypeParam>(CpuStream{}, &sum, 0.0, &norm, &factor, &bad);
  EXPECT_EQ(factor, 1.0f);
  EXPECT_EQ(bad, 0);
  sum = static_cast<TypeParam>(kInf);
  clip_factor<TypeParam>(CpuStream{}, &sum, 2.0, &norm, &factor, &bad);
  EXPECT_EQ(bad, 1);
  sum = 25;
  clip_factor<TypeParam>(CpuStream{}, &sum, 2.0, &norm, &factor, &bad);
  EXPECT_EQ(bad, 1) << "the flag is sticky";
}

TYPED_TEST(Optim, FlagNotFinite) {
  std::vector<TypeParam> x(1000, TypeParam(1));
  std::int32_t bad = 0;
  flag_not_finite<TypeParam>(CpuStream{}, x.data(), 1000, &bad);
  flag_not_finite<TypeParam>(CpuStream{}, x.data(), 0, &bad);
  EXPECT_EQ(bad, 0);
  x[999] = std::numeric_limits<TypeParam>::quiet_NaN();
  flag_not_finite<TypeParam>(CpuStream{}, x.data(), 1000, &bad);
  EXPECT_EQ(bad, 1);
  bad = 0;
  x[999] = static_cast<TypeParam>(-kInf);
  flag_not_finite<TypeParam>(CpuStream{}, x.data(), 1000, &bad);
  EXPECT_EQ(bad, 1);
  x[999] = 0;
  flag_not_finite<TypeParam>(CpuStream{}, x.data(), 1000, &bad);
  EXPECT_EQ(bad, 1) << "the flag is sticky";
}

}  // namespace
}  // namespace lacuna::kernels
