#include "core/ops/reduce.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

double total(const Tensor& t) {
  double sum = 0;
  for (std::int64_t i = 0; i < t.numel(); ++i) sum += t.data<double>()[i];
  return sum;
}

TEST(Reduce, SumAndMean) {
  // 40000: several chunks on the CPU, several blocks on CUDA.
  for (const Shape& shape : std::vector<Shape>{{}, {0}, {1}, {7}, {3, 5, 2}, {257, 9}, {40000}}) {
    const Tensors in{random_input(shape, 1, -1, 2)};
    check({.name = "sum " + to_string(shape), .inputs = in, .run = [](const Vars& v) { return sum(v[0]); },
           .reference = [](const Tensors& t) { return Tensor::full({}, total(t[0]), DType::f64); },
           .check_gradient = shape.numel() < 10000, .bf16_roundings = 1, .allow_zeros = shape.numel() == 0});
    if (shape.numel() == 0) continue;
    check({.name = "mean " + to_string(shape), .inputs = in, .run = [](const Vars& v) { return mean(v[0]); },
           .reference = [](const Tensors& t) {
             return Tensor::full({}, total(t[0]) / static_cast<double>(t[0].numel()), DType::f64);
           },
           .check_gradient = shape.numel() < 10000, .bf16_roundings = 1});
  }
}

TEST(Reduce, SumColumns) {
  const std::vector<std::pair<std::int64_t, std::int64_t>> shapes = {{0, 5}, {5, 0},   {1, 1},    {3, 7},
                                                                     {70, 33}, {2, 20001}, {9, 1500}};
  for (const auto& [m, n] : shapes) {
    check({.name = "sum_columns " + to_string(Shape{m, n}), .inputs = {random_input({m, n}, 2, -1, 2)},
           .run = [](const Vars& v) { return sum_columns(v[0]); },
           .reference = [](const Tensors& t) {
             Tensor out = Tensor::zeros({t[0].dim(0)}, DType::f64);
             const std::int64_t cols = t[0].dim(1);
             for (std::int64_t i = 0; i < t[0].numel(); ++i) out.data<double>()[i / cols] += t[0].data<double>()[i];
             return out;
           },
           .check_gradient = m * n < 10000, .bf16_roundings = 1, .allow_zeros = n == 0});
  }
}

TEST(Reduce, SumOfSquares) {
  std::vector<Tensor> tensors;
  double expected = 0;
  std::vector<std::int64_t> sizes = {0, 1, 5, 1000, 70001};
  for (int i = 0; i < 150; ++i) sizes.push_back(i % 7);  // more tensors than one launch takes
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    tensors.push_back(random_input({sizes[i]}, 10 + i));
    for (const double v : tensors.back().to_vector<double>()) expected += v * v;
  }
  EXPECT_NEAR(sum_of_squares(tensors).item(), expected, 1e-9 * expected);
  for (const Device device : devices()) {
    std::vector<Tensor> f32;
    for (const Tensor& t : tensors) f32.push_back(t.to(DType::f32).to(device));
    const Tensor result = sum_of_squares(f32);
    EXPECT_EQ(result.rank(), 0);
    EXPECT_EQ(result.dtype(), DType::f32);
    EXPECT_NEAR(result.item(), expected, 1e-6 * expected) << to_string(device);
    EXPECT_TRUE(equal_bits(result, sum_of_squares(f32))) << to_string(device);
    f32[3].copy_from(Tensor::full({1000}, std::numeric_limits<double>::quiet_NaN(), DType::f32));
    EXPECT_TRUE(std::isnan(sum_of_squares(f32).item())) << "NaN must not be lost";
  }
}

TEST(Reduce, LongF32SumsDoNotDrift) {
  // A running f32 sum of 2^22 tenths is off by percents; ours must not be.
  for (const Device device : devices()) {
    const std::int64_t n = 1 << 22;
    const Tensor x = Tensor::full({n}, 0.1f, DType::f32, device);
    EXPECT_NEAR(sum(x).item() / (static_cast<double>(0.1f) * static_cast<double>(n)), 1, 1e-6);
    EXPECT_NEAR(sum_columns(x.reshape({1, n})).item() / (static_cast<double>(0.1f) * static_cast<double>(n)), 1, 1e-6);
  }
}

TEST(Reduce, Refuses) {
  EXPECT_THROW(mean(Tensor::zeros({0, 3}, DType::f32)), ShapeError);
  EXPECT_THROW(sum_columns(Tensor::zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(sum(Tensor::zeros({3}, DType::i32)), DtypeError);
  EXPECT_THROW(sum_of_squares({}), ValueError);
  EXPECT_THROW(sum_of_squares({Tensor::zeros({3}, DType::f32), Tensor::zeros({3}, DType::f64)}), DtypeError);
}

}  // namespace
}  // namespace lacuna
