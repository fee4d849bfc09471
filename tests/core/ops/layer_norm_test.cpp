#include "core/ops/layer_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

Tensor reference(const Tensors& in) {
  const std::int64_t f = in[0].dim(0), n = in[0].dim(1);
  const double* x = in[0].data<double>();
  const Tensor y = Tensor::empty({f, n}, DType::f64);
  for (std::int64_t j = 0; j < n; ++j) {
    double mean = 0, var = 0;
    for (std::int64_t i = 0; i < f; ++i) mean += x[i * n + j] / static_cast<double>(f);
    for (std::int64_t i = 0; i < f; ++i) var += std::pow(x[i * n + j] - mean, 2) / static_cast<double>(f);
    for (std::int64_t i = 0; i < f; ++i)
      y.data<double>()[i * n + j] =
          (x[i * n + j] - mean) / std::sqrt(var + 1e-5) * in[1].data<double>()[i] + in[2].data<double>()[i];
  }
  return y;
}

OpCase make_case(std::int64_t f, std::int64_t n, double low, double high) {
  return {.name = "layer_norm " + to_string(Shape{f, n}),
          .inputs = {random_input({f, n}, 1, low, high), random_input({f}, 2, 0.5, 1.5), random_input({f}, 3)},
          .run = [](const Vars& v) { return layer_norm(v[0], v[1], v[2]); },
          .reference = reference,
          .bf16_roundings = 1,
          .parameters = {false, true, true}};
}

TEST(LayerNorm, Shapes) {
  // Rows: each number that the CUDA kernels hold per thread, and more than any holds. Columns: below, at and past a block.
  for (const auto& [f, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {3, 1}, {5, 7}, {100, 33}, {200, 32}, {400, 9}, {700, 3}, {1100, 4}, {9, 600}}) {
    OpCase c = make_case(f, n, -1, 2);
    c.difference_tolerance = 1e-5;  // differences of a sum over f * n lose digits
    check(c);
  }
}

TEST(LayerNorm, ShapesOfClusters) {
  // bf16 in rows of whole packs of eight: as ResidualNorm.ShapesOfClusters.
  for (const auto& [f, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {7, 8}, {128, 64}, {129, 72}, {300, 24}, {512, 16}, {600, 8}, {1024, 24}, {1025, 8}}) {
    OpCase c = make_case(f, n, -1, 2);
    c.difference_tolerance = 1e-5;
    check(c);
  }
}

TEST(LayerNorm, EachGradientAlone) {
  for (std::size_t i = 0; i < 3; ++i) {
    OpCase c = make_case(40, 64, -1, 2);
    c.differentiable = {i == 0, i == 1, i == 2};
    c.difference_tolerance = 1e-5;
    check(c);
  }
}

TEST(LayerNorm, OneFeatureGivesTheBias) {
  OpCase c = make_case(1, 6, -1, 1);
  c.differentiable = {false, false, true};  // gradients of x and gain are exactly 0
  check(c);
}

TEST(LayerNorm, Empty) {
  OpCase c = make_case(4, 0, -1, 1);
  c.allow_zeros = true;
  check(c);
  const Tensor none =
      layer_norm(Tensor::empty({0, 3}, DType::f32), Tensor::empty({0}, DType::f32), Tensor::empty({0}, DType::f32));
  EXPECT_EQ(none.numel(), 0);
}

TEST(LayerNorm, LargeMeanKeepsItsVariance) {
  OpCase c = make_case(64, 20, 999, 1001);
  c.bf16_roundings = 0;    // in bf16 numbers near 1000 lie 4 apart: nothing of the spread is left
  c.f32_tolerance = 2e-4;  // x itself carries an f32 rounding of 6e-5 against a spread of 1
  c.difference_tolerance = 1e-5;
  check(c);
}

TEST(LayerNorm, NanStaysInItsColumn) {
  for (const Device device : devices()) {
    for (const auto& [dtype, n] : {std::pair<DType, std::size_t>{DType::f32, 3}, {DType::bf16, 3}, {DType::bf16, 16}}) {
      Tensor x = random_input({6, static_cast<std::int64_t>(n)}, 1).to(DType::f32);
      x.data<float>()[1 * n + 2] = std::numeric_limits<float>::quiet_NaN();
      const Tensor gain = Tensor::full({6}, 1, DType::f32, device), bias = Tensor::zeros({6}, DType::f32, device);
      const Tensor out = layer_norm(x.to(dtype).to(device), gain, bias);
      const std::vector<float> y = out.to(DType::f32).to_vector<float>();
      for (std::size_t i = 0; i < y.size(); ++i) EXPECT_EQ(std::isnan(y[i]), i % n == 2) << n << " " << i;
    }
  }
}

TEST(LayerNorm, Errors) {
  const Tensor x = Tensor::zeros({4, 3}, DType::f32), good = Tensor::zeros({4}, DType::f32);
  EXPECT_THROW(layer_norm(x, Tensor::zeros({3}, DType::f32), good), ShapeError);
  EXPECT_THROW(layer_norm(x, good, Tensor::zeros({4}, DType::f64)), DtypeError);
  EXPECT_THROW(layer_norm(good, good, good), ShapeError);
  EXPECT_THROW(
      layer_norm(Tensor::zeros({4, 3}, DType::i32), Tensor::zeros({4}, DType::i32), Tensor::zeros({4}, DType::i32)),
      DtypeError);
}

}  // namespace
}  // namespace lacuna
