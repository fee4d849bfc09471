// Loss and gradient in one pass against the two passes, at the sizes where the kernels change.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "core/device.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/pointwise.h"
#include "core/visit.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

struct LossGrad {
  Tensor loss, grad;
};

/// The separate kernels: loss and statistics, then the gradient of `dloss` times the loss.
LossGrad separate(const Tensor& logits, const Tensor& targets, double smoothing, double dloss) {
  const std::int64_t n = logits.dim(1);
  const auto make = [&](const Shape& shape) { return Tensor::empty(shape, logits.dtype(), logits.device()); };
  const Tensor loss = make({}), lse = make({n}), count = make({}), scratch = make({n}), grad = make(logits.shape());
  const Tensor factor = Tensor::full({}, dloss, logits.dtype(), logits.device());
  visit_float("separate", logits, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Dense<const T> view{logits.data<T>(), logits.dim(0), n, n};
    const auto* t = targets.data<std::int32_t>();
    kernels::cross_entropy<T>(stream, view, t, smoothing, loss.data<T>(), {lse.data<T>(), count.data<T>()},
                              scratch.data<T>());
    kernels::cross_entropy_gradient<T>(stream, view, t, smoothing, factor.data<T>(), {lse.data<T>(), count.data<T>()},
                                       {grad.data<T>(), logits.dim(0), n, n});
  });
  return {loss, grad};
}

/// Some ignored, and the first and the last class among them.
Tensor some_targets(std::int64_t classes, std::int64_t n, Device device) {
  std::vector<std::int32_t> targets(static_cast<std::size_t>(n));
  for (std::int64_t j = 0; j < n; ++j)
    targets[static_cast<std::size_t>(j)] =
        static_cast<std::int32_t>(j % 7 == 3 ? -1 : (classes - 1) * (j + 1) % classes);
  return Tensor::from(targets, {n}, device);
}

// Classes around what 4, 16 and 64 registers of 16 slices hold, and beyond; columns around a warp and a CPU block.
const std::vector<Shape> kShapes{{1, 5},    {2, 1},     {16, 33},  {17, 31},   {64, 65},   {65, 64},
                                 {256, 97}, {257, 130}, {1000, 9}, {1024, 33}, {1025, 33}, {10, 9000}};

TEST(CrossEntropyFused, IsTheTwoPasses) {
  for (const Device device : devices())
    for (const Shape& shape : kShapes)
      for (const double smoothing : {0.0, 0.1})
        for (const double dloss : {1.0, 0.37}) {
          const Tensor logits = random_input(shape, 1, -4, 4).to(DType::f32).to(device);
          const Tensor targets = some_targets(shape[0], shape[1], device);
          const LossGrad expected = separate(logits, targets, smoothing, dloss);
          const Var x(logits.clone(), true);
          const Var loss = cross_entropy(x, targets, smoothing);
          backward(loss, Tensor::full({}, dloss, DType::f32, device));
          SCOPED_TRACE(to_string(shape) + " on " + to_string(device) + " smoothing " + std::to_string(smoothing));
          EXPECT_TRUE(equal_bits(x.data(), logits));  // x is held here: not overwritten
          // The device's lse is summed in another order: some ulp of numbers up to 11, which few columns do not
          // average.
          if (device.is_cpu()) {
            EXPECT_TRUE(equal_bits(loss.data(), expected.loss));
          } else {
            EXPECT_NEAR(loss.data().item(), expected.loss.item(), 5e-6);
          }
          if (device.is_cpu() && dloss == 1) {
            EXPECT_TRUE(equal_bits(x.grad(), expected.grad));
          } else {
            EXPECT_LT(relative_error(x.grad(), expected.grad), device.is_cpu() ? 1e-6 : shape[1] < 4 ? 1e-4 : 1e-5);
          }
        }
}

TEST(CrossEntropyFused, Gradients) {
  for (const std::int64_t classes : {3, 65, 257}) {
    const std::int64_t n = 5;
    check({.name = "cross_entropy, fused, classes " + std::to_string(classes),
           .inputs = {random_input({classes, n}, 2, -3, 3)},
           .run =
               [=](const std::vector<Var>& v) {
                 const Var taken = scale(v[0], 2);  // an inner node, which the loss may overwrite
                 return scale(cross_entropy(taken, some_targets(classes, n, v[0].data().device()), 0.1), 3);
               },
           .reference =
               [=](const std::vector<Tensor>& in) {
                 const Tensor x = scale(in[0], 2);
                 return scale(cross_entropy(x, some_targets(classes, n, kCpu), 0.1), 3);
               }});
  }
}

TEST(CrossEntropyFused, TakesOverLogitsThatNobodyHolds) {
  for (const Device device : devices()) {
    const Tensor targets = some_targets(40, 70, device);
    const Var leaf(random_input({40, 70}, 3).to(DType::f32).to(device), true);
    const Var held = scale(leaf, 2);
    const Tensor before = held.data().clone();
    backward(cross_entropy(held, targets, 0.1));
    EXPECT_TRUE(equal_bits(held.data(), before));
    const Tensor expected = leaf.grad();
    leaf.clear_grad();

    const std::size_t live = memory_stats(device).live_bytes;
    Var taken = scale(leaf, 2);
    const std::size_t with_logits = memory_stats(device).live_bytes;
    const Var loss = cross_entropy(std::move(taken), targets, 0.1);
    EXPECT_GT(with_logits, live);
    EXPECT_LE(memory_stats(device).live_bytes, with_logits + 1024);  // the loss itself, and no second matrix
    backward(loss);
    EXPECT_TRUE(equal_bits(leaf.grad(), expected));
  }
}

TEST(CrossEntropyFused, UsedTwiceItsGradientsAdd) {
  for (const Device device : devices()) {
    const Tensor targets = some_targets(9, 12, device);
    const Tensor logits = random_input({9, 12}, 4).to(DType::f32).to(device);
    const Var x(logits, true);
    const Var loss = cross_entropy(x, targets);
    backward(add(scale(loss, 2), loss));
    EXPECT_LT(relative_error(x.grad(), separate(logits, targets, 0, 3).grad), 1e-5);
  }
}

TEST(CrossEntropyFused, ATargetOutOfRangeOnTheDeviceIsNotOverlooked) {
  for (const Device device : cuda_devices_under_test()) {
    const Tensor targets = Tensor::from(std::vector<std::int32_t>{0, 3}, {2}, device);
    const Var loss = cross_entropy(Var(Tensor::zeros({3, 2}, DType::f32, device), true), targets);
    EXPECT_TRUE(std::isnan(loss.data().item()));
  }
}

TEST(CrossEntropyFused, InfinitiesAndNothing) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const Device device : devices()) {
    const auto gradient = [&](const std::vector<double>& column) {
      const Tensor values = Tensor::from(column, {3, 1}).to(DType::f32).to(device);
      const Var x(values, true);
      backward(cross_entropy(x, Tensor::from(std::vector<std::int32_t>{1}, {1}, device)));
      return x.grad().to_vector<float>();
    };
    const std::vector<float> masked = gradient({-inf, 0, 0});  // no probability, no gradient
    EXPECT_EQ(masked[0], 0);
    EXPECT_NEAR(masked[1], -0.5, 1e-6);
    EXPECT_NEAR(masked[2], 0.5, 1e-6);
    EXPECT_TRUE(std::isnan(gradient({inf, 0, 0})[0]));
    const Var empty(Tensor::zeros({3, 0}, DType::f32, device), true);
    const Var loss = cross_entropy(empty, Tensor::zeros({0}, DType::i32, device));
    EXPECT_TRUE(std::isnan(loss.data().item()));
    backward(loss);
    EXPECT_EQ(empty.grad().numel(), 0);
  }
}

}  // namespace
}  // namespace lacuna
