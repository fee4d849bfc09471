#include "core/ops/softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

Tensor reference(const Tensor& x, double scale, bool causal) {
  const std::int64_t cols = x.dim(-1);
  const Tensor y = Tensor::zeros(x.shape(), DType::f64);
  for (std::int64_t r = 0; cols > 0 && r < x.numel() / cols; ++r) {
    const std::int64_t length = causal ? r % cols + 1 : cols;
    const double* in = x.data<double>() + r * cols;
    double sum = 0;
    for (std::int64_t j = 0; j < length; ++j) sum += std::exp(scale * in[j]);
    for (std::int64_t j = 0; j < length; ++j) y.data<double>()[r * cols + j] = std::exp(scale * in[j]) / sum;
  }
  return y;
}

void check_softmax(const Shape& shape, double scale, bool causal, bool trivial = false) {
  OpCase c{.name = (causal ? "causal softmax " : "softmax ") + to_string(shape),
           .inputs = {random_input(shape, 1, -3, 3)},
           .run = [=](const Vars& v) { return softmax(v[0], scale, causal); },
           .reference = [=](const Tensors& in) { return reference(in[0], scale, causal); }};
  c.check_gradient = !trivial;
  c.difference_tolerance = 1e-4;  // differences of a sum over all of x lose digits; the gradients are small
  c.bf16_roundings = 1;
  c.bf16_gradient_roundings = 4;  // runs on the rounded result, and its two terms cancel
  c.allow_zeros = shape.numel() == 0;
  check(c);
}

TEST(Softmax, Rows) {
  // Columns: each form of the CUDA kernel (a warp holding 4, 16, 32 each; a block; rows too long to hold).
  for (const Shape& shape : std::vector<Shape>{{3, 7}, {2, 3, 40}, {5, 300}, {2, 1000}, {2, 1500}, {1, 2, 1, 17000}, {9}})
    check_softmax(shape, 1, false);
  check_softmax({4, 33}, -0.37, false);
  check_softmax({5, 1}, 1, false, true);  // the result is 1, the gradient 0
  check_softmax({0, 4}, 1, false);
  check_softmax({4, 0}, 1, false);
}

TEST(Softmax, Causal) {
  for (const std::int64_t t : {2, 5, 33, 70}) check_softmax({2, t, t}, 0.7, true);
  check_softmax({1100, 1100}, 1, true, true);  // longer than a warp's row on CUDA
  check_softmax({3, 1, 1}, 1, true, true);
}

TEST(Softmax, CausalNeverReadsWhatItExcludes) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::int64_t t = 6;
  for (const Device device : devices()) {
    const Tensor x = random_input({t, t}, 1).to(DType::f32), seed = random_input({t, t}, 2).to(DType::f32);
    for (std::int64_t i = 0; i < t; ++i)
      for (std::int64_t j = i + 1; j < t; ++j) x.data<float>()[i * t + j] = seed.data<float>()[i * t + j] = nan;
    const Var leaf(x.to(device), true);
    const Var p = softmax(leaf, 1, true);
    backward(p, seed.to(device));
    const std::vector<float> value = p.data().to_vector<float>(), gradient = leaf.grad().to_vector<float>();
    for (std::size_t e = 0; e < value.size(); ++e) {
      const bool kept = e % t <= e / t;
      EXPECT_EQ(value[e] != 0, kept) << e;
      EXPECT_FALSE(std::isnan(value[e]) || std::isnan(gradient[e])) << e;
      if (!kept) {
        EXPECT_EQ(gradient[e], 0) << e;
      }
    }
  }
}

TEST(Softmax, LargeScoresAndNan) {
  for (const Device device : devices()) {
    const float infinity = std::numeric_limits<float>::infinity();
    const Tensor x = Tensor::from(std::vector<float>{1000, 1000, -infinity, 1, std::nanf(""), 2}, {2, 3}).to(device);
    const std::vector<float> y = softmax(x).to_vector<float>();
    EXPECT_FLOAT_EQ(y[0], 0.5f);
    EXPECT_FLOAT_EQ(y[1], 0.5f);
    EXPECT_EQ(y[2], 0);
    for (std::size_t j = 3; j < 6; ++j) EXPECT_TRUE(std::isnan(y[j]));
  }
}

TEST(Softmax, Errors) {
  EXPECT_THROW(softmax(Tensor::zeros({3, 4}, DType::f32), 1, true), ShapeError);
  EXPECT_THROW(softmax(Tensor::zeros({}, DType::f32)), ShapeError);
  EXPECT_THROW(softmax(Tensor::zeros({3}, DType::i32)), DtypeError);
}

}  // namespace
}  // namespace lacuna
