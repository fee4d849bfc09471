// GradientGuard: norm, clipping, and the count of steps up to the first that was not finite.
#include <gtest/gtest.h>

#include <cmath>

#include "optim/optimizer.h"

namespace lacuna {
namespace {

TEST(GradientGuard, ClipsByTheNormOverAllGradients) {
  for (const Device device : devices()) {
    Parameter a("a", Tensor::zeros({2}, DType::f32, device)), b("b", Tensor::zeros({1}, DType::f32, device)),
        none("none", Tensor::zeros({3}, DType::f32, device));
    a.var().set_grad(Tensor::from<float>({3, 0}, {2}, device));
    b.var().set_grad(Tensor::from<float>({4}, {1}, device));
    GradientGuard guard(2.5, DType::f32, device);
    const UpdateGuard update = guard.inspect({&a, &none, &b}, Tensor::zeros({}, DType::f32, device));
    EXPECT_FLOAT_EQ(static_cast<float>(guard.norm()), 5);
    EXPECT_NEAR(update.scale.item(), 0.5, 1e-6);
    EXPECT_EQ(update.skip.item(), 0);
    EXPECT_EQ(guard.num_good(), 1);
  }
}

TEST(GradientGuard, CountsStepsWithoutGradientsToo) {
  for (const Device device : devices()) {
    Parameter p("p", Tensor::zeros({2}, DType::f32, device)), empty("empty", Tensor::zeros({0}, DType::f32, device));
    empty.var().set_grad(Tensor::zeros({0}, DType::f32, device));  // of a weight that is pruned away altogether
    GradientGuard guard(1, DType::f32, device);
    const auto inspect = [&](double loss) { guard.inspect({&p, &empty}, Tensor::full({}, loss, DType::f32, device)); };
    p.var().set_grad(Tensor::from<float>({3, 4}, {2}, device));
    inspect(1);
    p.var().clear_grad();
    inspect(1);
    EXPECT_EQ(guard.norm(), 0);
    EXPECT_EQ(guard.num_good(), 2);
    inspect(NAN);
    inspect(1);
    EXPECT_TRUE(guard.diverged());
    EXPECT_EQ(guard.num_good(), 2);
  }
}

}  // namespace
}  // namespace lacuna
