// RigL's memory: at no moment of an update step does a 95 % sparse 4096 x 4096 layer need a quarter of what the dense layer
// holds in weight, gradient and Adam's two moments.
#include <gtest/gtest.h>

#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "layers/multiply.h"
#include "optim/optimizer.h"
#include "pruning/pruner.h"

namespace lacuna {
namespace {

constexpr std::int64_t kSize = 4096, kTokens = 8;
constexpr double kDenseBytes = 4.0 * kSize * kSize * 4;  // weight, gradient, two moments

void expect_peak_under_a_quarter(Device device) {
  synchronize(device);
  const std::size_t others = memory_stats(device).live_bytes;
  Parameter weight("weight", Tensor::full({kSize, kSize}, 0.01, DType::f32, device));
  weight.prunable = true;
  PruningConfig c;
  c.method = "rigl";
  c.sparsity = 0.95;
  c.frequency = 2;
  c.end_step = 100;
  Pruner pruner(c, {&weight}, 1);
  const auto optimizer = make_optimizer(AdamConfig{});
  const auto one_step = [&](std::int64_t t) {
    pruner.step(t);
    const Tensor x = random_normal({kSize, kTokens}, 0, 1, {2, static_cast<std::uint64_t>(t)}, DType::f32, device);
    const ForwardContext context{.training = true};
    const Var y = multiply(weight, Var(x), Var(), Activation::none, context);
    backward(mean(mul(y, y)));
    if (!pruner.after_backward(t)) optimizer->update(weight, {1e-3, t, {}});
    weight.var().clear_grad();
  };
  one_step(0);  // makes it sparse: the dense initial values are gone from here on
  one_step(1);
  synchronize(device);
  reset_peak_memory(device);
  const TopologyPtr before = weight.topology();
  one_step(2);  // an update
  synchronize(device);
  ASSERT_NE(weight.topology(), before);
  one_step(3);
  EXPECT_EQ(weight.nnz(), 838861);
  const auto peak = static_cast<double>(memory_stats(device).peak_bytes - others);
  ::testing::Test::RecordProperty("peak_share_of_dense", std::to_string(peak / kDenseBytes));
  EXPECT_LT(peak, 0.25 * kDenseBytes) << peak / kDenseBytes << " of the dense footprint";
  EXPECT_GT(peak, 0.05 * kDenseBytes) << "the counter counts";
}

TEST(RigLMemory, PeakStaysUnderAQuarterOfTheDenseLayer) { expect_peak_under_a_quarter(kCpu); }

TEST(RigLMemory, PeakStaysUnderAQuarterOfTheDenseLayerOnCuda) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  expect_peak_under_a_quarter(devices()[1]);
}

}  // namespace
}  // namespace lacuna
