#include "core/ops/pointwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

// Empty, one element, odd sizes, a tail after vectors of four, and more than one block of threads.
const std::vector<Shape> kShapes = {{0}, {1}, {3, 5}, {7, 1, 3}, {2, 128}, {1025}, {3, 1000}};

Tensor apply(const Tensor& a, const Tensor& b, const std::function<double(double, double)>& f) {
  Tensor out = Tensor::empty_like(a);
  for (std::int64_t i = 0; i < a.numel(); ++i) out.data<double>()[i] = f(a.data<double>()[i], b.data<double>()[i]);
  return out;
}

TEST(Pointwise, AddSubMul) {
  for (const Shape& shape : kShapes) {
    const Tensors in{random_input(shape, 1), random_input(shape, 2)};
    check({.name = "add " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return add(v[0], v[1]); },
           .reference = [](const Tensors& t) { return apply(t[0], t[1], [](double a, double b) { return a + b; }); },
           .bf16_roundings = 1});
    check({.name = "sub " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return sub(v[0], v[1]); },
           .reference = [](const Tensors& t) { return apply(t[0], t[1], [](double a, double b) { return a - b; }); },
           .bf16_roundings = 1});
    check({.name = "mul " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return mul(v[0], v[1]); },
           .reference = [](const Tensors& t) { return apply(t[0], t[1], [](double a, double b) { return a * b; }); },
           .bf16_roundings = 1});
  }
}

TEST(Pointwise, ScaleReluGelu) {
  for (const Shape& shape : kShapes) {
    const Tensors in{random_input(shape, 3, -2, 3)};
    check({.name = "scale " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return scale(v[0], -0.75); },
           .reference = [](const Tensors& t) { return apply(t[0], t[0], [](double a, double) { return -0.75 * a; }); },
           .bf16_roundings = 1});
    // One element may fall on the flat side, where zero is the right answer.
    check({.name = "relu " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return relu(v[0]); },
           .reference = [](const Tensors& t) { return apply(t[0], t[0], [](double a, double) { return a > 0 ? a : 0; }); },
           .bf16_roundings = 1,
           .allow_zeros = shape.numel() == 1});
    check({.name = "gelu " + to_string(shape), .inputs = in,
           .run = [](const Vars& v) { return gelu(v[0]); },
           .reference = [](const Tensors& t) {
             return apply(t[0], t[0], [](double a, double) { return a * 0.5 * (1 + std::erf(a / std::sqrt(2.0))); });
           },
           .bf16_roundings = 1});
  }
}

TEST(Pointwise, GeluKeepsItsAccuracyFarBelowZero) {
  const Tensor x = Tensor::from(std::vector<float>{-5, -8, 6}, {3});
  const std::vector<float> y = gelu(x).to_vector<float>();
  EXPECT_NEAR(y[0] / (-5 * 0.5 * std::erfc(5 / std::sqrt(2.0))), 1, 1e-5);
  EXPECT_NEAR(y[1] / (-8 * 0.5 * std::erfc(8 / std::sqrt(2.0))), 1, 1e-5);
  EXPECT_EQ(y[2], 6);
}

TEST(Pointwise, NanAndItsGradientPropagate) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Device device : devices()) {
    const Var x(Tensor::from(std::vector<float>{nan, -1, 2}, {3}, device), true);
    for (const Activation kind : {Activation::relu, Activation::gelu}) {
      const Var y = activation(x, kind);
      EXPECT_TRUE(std::isnan(y.data().to_vector<float>()[0]));
      x.clear_grad();
      backward(y, Tensor::from(std::vector<float>{1, nan, nan}, {3}, device));
      EXPECT_TRUE(std::isnan(x.grad().to_vector<float>()[2]));
    }
  }
}

TEST(Pointwise, AddBias) {
  for (const auto& [m, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 3}, {3, 0}, {1, 1}, {3, 7}, {5, 516}}) {
    check({.name = "add_bias", .inputs = {random_input({m, n}, 4), random_input({m}, 5)},
           .run = [](const Vars& v) { return add_bias(v[0], v[1]); },
           .reference = [](const Tensors& t) {
             Tensor out = t[0].clone();
             const std::int64_t cols = out.dim(1);
             for (std::int64_t i = 0; i < out.numel(); ++i) out.data<double>()[i] += t[1].data<double>()[i / cols];
             return out;
           },
           .bf16_roundings = 1,
           .parameters = {false, true},
           .allow_zeros = n == 0});  // then the bias's gradient is an empty sum
  }
}

TEST(Pointwise, AccumulateWritesInPlaceOnlyWhenNobodyLooks) {
  for (const Device device : devices()) {
    const Tensor g = Tensor::full({5}, 2, DType::f32, device);
    Tensor mine = Tensor::full({5}, 1, DType::f32, device);
    const void* address = mine.raw();
    accumulate(mine, g);
    EXPECT_EQ(mine.raw(), address);
    EXPECT_EQ(mine.to_vector<float>(), std::vector<float>(5, 3));
    const Tensor other = mine;
    accumulate(mine, g);
    EXPECT_EQ(mine.to_vector<float>(), std::vector<float>(5, 5));
    EXPECT_EQ(other.to_vector<float>(), std::vector<float>(5, 3));
    Tensor undefined;
    accumulate(undefined, g);
    EXPECT_TRUE(undefined.shares_storage_with(g));
  }
}

TEST(Pointwise, OneInputTwiceSumsItsGradients) {
  const Var x(Tensor::from(std::vector<double>{3, -4}, {2}), true);
  backward(mul(x, x), Tensor::full({2}, 1, DType::f64));
  EXPECT_EQ(x.grad().to_vector<double>(), (std::vector<double>{6, -8}));
}

TEST(Pointwise, RefusesOperandsThatDoNotFit) {
  const Tensor a = Tensor::zeros({2, 3}, DType::f32);
  EXPECT_THROW(add(a, Tensor::zeros({3, 2}, DType::f32)), ShapeError);
  EXPECT_THROW(mul(a, Tensor::zeros({2, 3}, DType::f64)), DtypeError);
  EXPECT_THROW(add(Tensor::zeros({2}, DType::i32), Tensor::zeros({2}, DType::i32)), DtypeError);
  EXPECT_THROW(add(a, Tensor()), ValueError);
  EXPECT_THROW(add_bias(a, Tensor::zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(add_bias(Tensor::zeros({2}, DType::f32), Tensor::zeros({2}, DType::f32)), ShapeError);
  try {
    sub(a, Tensor::zeros({3, 2}, DType::f32));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_STREQ(error.what(), "[sub] a is f32[2, 3] on cpu, b is f32[3, 2] on cpu; their shapes must agree");
  }
}

}  // namespace
}  // namespace lacuna
