#include "core/ops/batch_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

struct Moments {
  std::vector<double> mean, biased, unbiased;
};

Moments moments_of(const Tensor& x) {
  const std::int64_t c = x.dim(0), n = x.dim(1);
  Moments m;
  for (std::int64_t i = 0; i < c; ++i) {
    const double* row = x.data<double>() + i * n;
    double mean = 0, square = 0;
    for (std::int64_t j = 0; j < n; ++j) mean += row[j] / static_cast<double>(n);
    for (std::int64_t j = 0; j < n; ++j) square += (row[j] - mean) * (row[j] - mean);
    m.mean.push_back(mean);
    m.biased.push_back(square / static_cast<double>(n));
    m.unbiased.push_back(square / static_cast<double>(n - 1));
  }
  return m;
}

Tensor normalise(const Tensors& in, const std::vector<double>& mean, const std::vector<double>& var) {
  const std::int64_t n = in[0].dim(1);
  const Tensor y = Tensor::empty(in[0].shape(), DType::f64);
  for (std::int64_t e = 0; e < y.numel(); ++e) {
    const auto i = static_cast<std::size_t>(e / n);
    y.data<double>()[e] = (in[0].data<double>()[e] - mean[i]) / std::sqrt(var[i] + 1e-5) * in[1].data<double>()[i] +
                          in[2].data<double>()[i];
  }
  return y;
}

OpCase training_case(std::int64_t c, std::int64_t n, double low = -1, double high = 2) {
  return {.name = "batch_norm, training " + to_string(Shape{c, n}),
          .inputs = {random_input({c, n}, 1, low, high), random_input({c}, 2, 0.5, 1.5), random_input({c}, 3)},
          .run =
              [](const Vars& v) {
                return batch_norm(v[0], v[1], v[2], Tensor::zeros_like(v[1].data()), Tensor::zeros_like(v[1].data()), true);
              },
          .reference =
              [](const Tensors& in) {
                const Moments m = moments_of(in[0]);
                return normalise(in, m.mean, m.biased);
              },
          .bf16_roundings = 1,
          .parameters = {false, true, true}};
}

TEST(BatchNorm, Training) {
  // Columns: odd (no float4), multiples of 4, one chunk and several per channel on CUDA.
  for (const auto& [c, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 3}, {3, 50}, {7, 64}, {40, 103}, {2, 4200}, {2, 4101}, {200, 8}}) {
    OpCase op_case = training_case(c, n);
    op_case.difference_tolerance = 1e-5;  // differences of a sum over c * n lose digits
    check(op_case);
  }
}

TEST(BatchNorm, LargeMeanKeepsItsVariance) {
  OpCase c = training_case(2, 2048, 999, 1001);
  c.f32_tolerance = 2e-4;  // the mean is kept in f32: rounded by up to 3e-5 against a spread of 0.6
  // An error d of the mean adds d / 0.6 * sum(dy) to dgain. The harness's dy is about 1 everywhere, so the sum is 2048, while
  // dgain itself averages out to about 10. On CUDA the tree that merges the threads' moments rounds the mean at each of
  // its eight levels, by 3e-5 at 1000: d = 1e-4 is usual there.
  c.gradient_tolerance = 4e-2;
  c.bf16_roundings = 0;  // in bf16 numbers near 1000 lie 4 apart: nothing of the spread is left
  c.difference_tolerance = 1e-4;
  check(c);
}

TEST(BatchNorm, Evaluation) {
  for (const auto& [c, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {5, 33}, {3, 2100}, {4, 0}}) {
    const Tensor mean = random_input({c}, 4), var = random_input({c}, 5, 0.5, 2);
    check({.name = "batch_norm, evaluation " + to_string(Shape{c, n}),
           .inputs = {random_input({c, n}, 1), random_input({c}, 2, 0.5, 1.5), random_input({c}, 3)},
           .run =
               [=](const Vars& v) {
                 const Tensor& gain = v[1].data();
                 const auto like_gain = [&](const Tensor& t) { return t.to(gain.dtype()).to(gain.device()); };
                 return batch_norm(v[0], v[1], v[2], like_gain(mean), like_gain(var), false);
               },
           .reference = [=](const Tensors& in) { return normalise(in, mean.to_vector<double>(), var.to_vector<double>()); },
           .bf16_roundings = 1,
           .parameters = {false, true, true},
           .allow_zeros = n == 0});
  }
}

// torch: running = (1 - momentum) * running + momentum * batch, the variance unbiased; evaluation changes nothing.
TEST(BatchNorm, RunningStatistics) {
  const std::int64_t c = 3, n = 5001;
  for (const Device device : devices()) {
    const Tensor gain = Tensor::full({c}, 1, DType::f32, device), bias = Tensor::zeros({c}, DType::f32, device);
    const Tensor mean = Tensor::zeros({c}, DType::f32, device), var = Tensor::full({c}, 1, DType::f32, device);
    std::vector<double> want_mean(3, 0), want_var(3, 1);
    const double momentum = 0.25;
    for (std::uint64_t step = 0; step < 3; ++step) {
      const Tensor x = random_input({c, n}, step, 1, 4);
      const Moments m = moments_of(x);
      for (std::size_t i = 0; i < 3; ++i) {
        want_mean[i] = (1 - momentum) * want_mean[i] + momentum * m.mean[i];
        want_var[i] = (1 - momentum) * want_var[i] + momentum * m.unbiased[i];
      }
      batch_norm(x.to(DType::f32).to(device), gain, bias, mean, var, true, momentum);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_NEAR(mean.to_vector<float>()[i], want_mean[i], 1e-5) << to_string(device);
      EXPECT_NEAR(var.to_vector<float>()[i], want_var[i], 1e-5) << to_string(device);
    }
    const Tensor before_mean = mean.clone(), before_var = var.clone();
    batch_norm(random_input({c, n}, 9).to(DType::f32).to(device), gain, bias, mean, var, false);
    EXPECT_TRUE(equal_bits(mean, before_mean) && equal_bits(var, before_var));
  }
  // Two values per channel tell the biased from the unbiased variance: 2 and 4 have 1 and 2.
  const Tensor x = Tensor::from(std::vector<double>{2, 4}, {1, 2}), one = Tensor::full({1}, 1, DType::f64);
  const Tensor mean = Tensor::zeros({1}, DType::f64), var = Tensor::zeros({1}, DType::f64);
  const Tensor y = batch_norm(x, one, Tensor::zeros({1}, DType::f64), mean, var, true, 0.1, 0);
  EXPECT_DOUBLE_EQ(mean.item(), 0.3);
  EXPECT_DOUBLE_EQ(var.item(), 0.2);
  EXPECT_DOUBLE_EQ(y.to_vector<double>()[1], 1);
}

// The tape keeps its own statistics: a later training step must not change a pending evaluation gradient.
TEST(BatchNorm, EvaluationGradientIgnoresLaterUpdates) {
  const Tensor x = random_input({2, 8}, 1), one = Tensor::full({2}, 1, DType::f64), zero = Tensor::zeros({2}, DType::f64);
  const Tensor mean = zero.clone(), var = one.clone();
  const Var leaf(x, true);
  const Var y = batch_norm(leaf, Var(one), Var(zero), mean, var, false, 0.1, 0);
  batch_norm(random_input({2, 8}, 2, 5, 50), one, zero, mean, var, true);
  backward(y, Tensor::full({2, 8}, 1, DType::f64));
  for (const double g : leaf.grad().to_vector<double>()) EXPECT_DOUBLE_EQ(g, 1);
}

TEST(BatchNorm, ConstantChannelAndNan) {
  for (const Device device : devices()) {
    Tensor x = Tensor::full({3, 12}, 7, DType::f32);
    for (int j = 0; j < 12; ++j) x.data<float>()[12 + j] = static_cast<float>(j);
    x.data<float>()[2 * 12 + 5] = std::numeric_limits<float>::quiet_NaN();
    const Tensor gain = Tensor::full({3}, 1, DType::f32, device), bias = Tensor::full({3}, 2, DType::f32, device);
    const Tensor mean = Tensor::zeros({3}, DType::f32, device), var = Tensor::zeros({3}, DType::f32, device);
    const std::vector<float> y = batch_norm(x.to(device), gain, bias, mean, var, true).to_vector<float>();
    for (std::size_t j = 0; j < 12; ++j) {
      EXPECT_FLOAT_EQ(y[j], 2);
      EXPECT_FALSE(std::isnan(y[12 + j]));
      EXPECT_TRUE(std::isnan(y[24 + j]));
    }
    EXPECT_TRUE(std::isnan(mean.to_vector<float>()[2]) && std::isnan(var.to_vector<float>()[2]));
  }
}

TEST(BatchNorm, Errors) {
  const Tensor x = Tensor::zeros({4, 3}, DType::f32), v = Tensor::zeros({4}, DType::f32), bad = Tensor::zeros({3}, DType::f32);
  EXPECT_THROW(batch_norm(x, bad, v, v, v, true), ShapeError);
  EXPECT_THROW(batch_norm(x, v, v, bad, v, false), ShapeError);
  EXPECT_THROW(batch_norm(x, v, v, v, Tensor(), false), ValueError);
  EXPECT_THROW(batch_norm(x, v, Tensor::zeros({4}, DType::f64), v, v, true), DtypeError);
  EXPECT_THROW(batch_norm(Tensor::zeros({4, 1}, DType::f32), v, v, v, v, true), ShapeError);
}

}  // namespace
}  // namespace lacuna
