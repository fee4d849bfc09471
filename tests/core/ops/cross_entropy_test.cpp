#include "core/ops/cross_entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Targets = std::vector<std::int32_t>;

OpCase loss_case(std::int64_t classes, const Targets& targets, double smoothing, double range = 3) {
  const auto n = static_cast<std::int64_t>(targets.size());
  OpCase c;
  c.name = "cross_entropy classes " + std::to_string(classes) + " n " + std::to_string(n) + " smoothing " +
           std::to_string(smoothing);
  c.inputs = {random_input({classes, n}, 1, -range, range)};
  c.run = [=](const std::vector<Var>& v) {
    return cross_entropy(v[0], Tensor::from(targets, {n}, v[0].data().device()), smoothing);
  };
  c.reference = [=](const std::vector<Tensor>& t) {
    double total = 0, count = 0;
    for (std::int64_t j = 0; j < n; ++j) {
      if (targets[static_cast<std::size_t>(j)] < 0) continue;
      double largest = -1e300, sum = 0;
      const auto logit = [&](std::int64_t k) { return t[0].data<double>()[k * n + j]; };
      for (std::int64_t k = 0; k < classes; ++k) largest = std::max(largest, logit(k));
      for (std::int64_t k = 0; k < classes; ++k) sum += std::exp(logit(k) - largest);
      for (std::int64_t k = 0; k < classes; ++k) {
        const double weight = smoothing / static_cast<double>(classes) +
                              (k == targets[static_cast<std::size_t>(j)] ? 1 - smoothing : 0);
        total -= weight * (logit(k) - largest - std::log(sum));
      }
      count += 1;
    }
    return Tensor::full({}, total / count, DType::f64);
  };
  c.bf16_roundings = 1;  // of the gradient; the loss is f32
  return c;
}

Targets spread(std::int64_t n, std::int64_t classes, bool with_ignored) {
  Targets targets;
  for (std::int64_t j = 0; j < n; ++j) {
    targets.push_back(static_cast<std::int32_t>(with_ignored && j % 5 == 2 ? -100 : (j * 13 + 1) % classes));
  }
  return targets;
}

TEST(CrossEntropy, AgreesWithItsDefinition) {
  for (const double smoothing : {0.0, 0.1}) {
    check(loss_case(2, {1}, smoothing));
    check(loss_case(3, {0, 2, 1, 1, 0}, smoothing));
    check(loss_case(10, spread(33, 10, true), smoothing));
    check(loss_case(101, spread(70, 101, true), smoothing));
    check(loss_case(1000, spread(3, 1000, false), smoothing));
  }
}

TEST(CrossEntropy, LargeLogitsDoNotOverflow) { check(loss_case(7, spread(9, 7, false), 0, 300)); }

TEST(CrossEntropy, OneClassCostsNothing) {
  const Var logits(random_input({1, 3}, 2), true);
  const Var loss = cross_entropy(logits, Tensor::from(Targets{0, 0, 0}, {3}));
  EXPECT_NEAR(loss.data().item(), 0, 1e-15);
}

TEST(CrossEntropy, AllIgnoredIsNanWithAZeroGradientAsInTorch) {
  for (const Device device : devices()) {
    const Var logits(random_input({3, 2}, 2).to(DType::f32).to(device), true);
    const Var loss = cross_entropy(logits, Tensor::from(Targets{-1, -100}, {2}, device));
    EXPECT_TRUE(std::isnan(loss.data().item()));
    backward(loss);
    EXPECT_EQ(logits.grad().to_vector<float>(), std::vector<float>(6, 0.0f));
    EXPECT_TRUE(std::isnan(cross_entropy(Tensor::zeros({3, 0}, DType::f32, device),
                                         Tensor::zeros({0}, DType::i32, device)).item()));
  }
}

TEST(CrossEntropy, NanInAnIgnoredColumnIsIgnoredAndElsewhereIsNot) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Device device : devices()) {
    const Tensor values = Tensor::from(std::vector<double>{1, nan, 2, nan}, {2, 2}).to(DType::f32).to(device);
    const Var logits(values, true);
    const Var loss = cross_entropy(logits, Tensor::from(Targets{0, -1}, {2}, device), 0.1);
    EXPECT_TRUE(std::isfinite(loss.data().item()));
    backward(loss);
    for (const float g : logits.grad().to_vector<float>()) EXPECT_TRUE(std::isfinite(g));
    EXPECT_TRUE(std::isnan(cross_entropy(values, Tensor::from(Targets{0, 1}, {2}, device)).item()));
  }
}

TEST(CrossEntropy, MinusInfinityHasNoProbability) {
  const double inf = std::numeric_limits<double>::infinity();
  for (const Device device : devices()) {
    const Tensor logits = Tensor::from(std::vector<double>{-inf, 0, 0}, {3, 1}).to(DType::f32).to(device);
    EXPECT_NEAR(cross_entropy(logits, Tensor::from(Targets{1}, {1}, device)).item(), std::log(2.0), 1e-6);
  }
}

TEST(CountCorrect, CountsTheFirstLargest) {
  // columns: ties go to the first class; the last column is ignored
  const std::vector<double> logits = {1, 0, 2, 9,   //
                                      1, 3, 1, 9,   //
                                      0, 2, 2, 9};
  for (const Device device : devices()) {
    const Tensor on_device = Tensor::from(logits, {3, 4}).to(DType::f32).to(device);
    const auto count = [&](const Targets& t) { return count_correct(on_device, Tensor::from(t, {4}, device)).item(); };
    EXPECT_EQ(count({0, 1, 0, -1}), 3);
    EXPECT_EQ(count({1, 1, 2, -1}), 1);
    EXPECT_EQ(count({-1, -1, -1, 0}), 1);
    EXPECT_EQ(count_correct(Tensor::zeros({3, 0}, DType::f32, device), Tensor::zeros({0}, DType::i32, device)).item(), 0);
  }
  const Tensor many = random_input({37, 5000}, 3).to(DType::f32);
  Targets best;
  for (std::int64_t j = 0; j < 5000; ++j) {
    std::int32_t index = 0;
    for (std::int32_t c = 1; c < 37; ++c) {
      if (many.data<float>()[c * 5000 + j] > many.data<float>()[index * 5000 + j]) index = c;
    }
    best.push_back(j % 4 == 0 ? (index + 1) % 37 : index);
  }
  for (const Device device : devices()) {
    EXPECT_EQ(count_correct(many.to(device), Tensor::from(best, {5000}, device)).item(), 3750) << to_string(device);
  }
}

TEST(CrossEntropy, Refuses) {
  const Tensor logits = Tensor::zeros({3, 2}, DType::f32);
  const Tensor targets = Tensor::zeros({2}, DType::i32);
  EXPECT_THROW(cross_entropy(logits, Tensor::zeros({3}, DType::i32)), ShapeError);
  EXPECT_THROW(cross_entropy(logits, Tensor::zeros({2}, DType::f32)), DtypeError);
  EXPECT_THROW(cross_entropy(logits, Tensor::from(Targets{0, 3}, {2})), IndexError);
  EXPECT_THROW(cross_entropy(logits, targets, 1.0), ValueError);
  EXPECT_THROW(cross_entropy(logits, targets, -0.1), ValueError);
  EXPECT_THROW(cross_entropy(Tensor::zeros({3}, DType::f32), targets), ShapeError);
}

}  // namespace
}  // namespace lacuna
