#include "core/ops/matmul.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "core/errors.h"
#include "core/ops/matmul_parts.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

Tensor naive_matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const std::int64_t batch = a.rank() == 3 ? a.dim(0) : 1;
  const std::int64_t m = a.dim(transpose_a ? -1 : -2), k = a.dim(transpose_a ? -2 : -1);
  const std::int64_t n = b.dim(transpose_b ? -2 : -1);
  Tensor c = Tensor::zeros(a.rank() == 3 ? Shape{batch, m, n} : Shape{m, n}, DType::f64);
  for (std::int64_t s = 0; s < batch; ++s) {
    const double* x = a.data<double>() + s * m * k;
    const double* y = b.data<double>() + s * k * n;
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (std::int64_t l = 0; l < k; ++l) {
          sum += (transpose_a ? x[l * m + i] : x[i * k + l]) * (transpose_b ? y[j * k + l] : y[l * n + j]);
        }
        c.data<double>()[(s * m + i) * n + j] = sum;
      }
    }
  }
  return c;
}

OpCase matmul_case(std::int64_t batch, std::int64_t m, std::int64_t k, std::int64_t n, bool ta, bool tb) {
  const auto shape = [&](std::int64_t rows, std::int64_t cols, bool transposed) {
    if (transposed) std::swap(rows, cols);
    return batch < 0 ? Shape{rows, cols} : Shape{batch, rows, cols};
  };
  OpCase c;
  c.name =
      "matmul " + to_string(Shape{m, k, n}) + " batch " + std::to_string(batch) + (ta ? " ta" : "") + (tb ? " tb" : "");
  c.inputs = {random_input(shape(m, k, ta), 1), random_input(shape(k, n, tb), 2)};
  c.run = [=](const Vars& v) { return matmul(v[0], v[1], ta, tb); };
  c.reference = [=](const Tensors& t) { return naive_matmul(t[0], t[1], ta, tb); };
  c.tf32_tolerance = 5e-3;  // operands keep ten bits after the point
  c.bf16_roundings = 1;
  c.allow_zeros = m == 0 || k == 0 || n == 0;  // empty sums
  return c;
}

TEST(Matmul, EveryTransposition) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      check(matmul_case(-1, 7, 5, 9, ta, tb));
      check(matmul_case(-1, 32, 48, 16, ta, tb));
      check(matmul_case(3, 5, 7, 4, ta, tb));
    }
  }
}

// One column, which CUDA multiplies by a kernel of its own: lengths that vectors divide and not, none, one row.
TEST(Matmul, OfOneColumn) {
  for (const auto& [m, k] : std::vector<std::array<std::int64_t, 2>>{{1, 1}, {5, 7}, {9, 8}, {1000, 132}, {17, 1840}, {3, 0}})
    check(matmul_case(-1, m, k, 1, false, false));
}

TEST(MatmulInParts, IsTheProduct) {
  // One piece, several, one column each; odd outputs; on CUDA f32 and bf16 as cuBLASLt's batches of pieces.
  for (const auto& [m, n, k, parts] : std::vector<std::array<std::int64_t, 4>>{
           {5, 3, 48, 1}, {7, 9, 48, 2}, {32, 16, 512, 8}, {3, 2, 12, 12}, {64, 32, 4096, 4}, {1, 1, 64, 8}}) {
    check({.name = "matmul in " + std::to_string(parts) + " parts " + to_string(Shape{m, n, k}),
           .inputs = {random_input({m, k}, 1), random_input({n, k}, 2)},
           .run = [parts = parts](const Vars& v) { return Var(matmul_in_parts(v[0].data(), v[1].data(), parts)); },
           .reference = [](const Tensors& t) { return naive_matmul(t[0], t[1], false, true); },
           .tf32_tolerance = 5e-3,
           .check_gradient = false,
           .bf16_roundings = 1});
  }
  const Tensor a = Tensor::zeros({4, 12}, DType::f32);
  EXPECT_THROW(matmul_in_parts(a, a, 5), ValueError);
  EXPECT_THROW(matmul_in_parts(a, a, 0), ValueError);
  EXPECT_THROW(matmul_in_parts(a, Tensor::zeros({4, 11}, DType::f32), 1), ShapeError);
  EXPECT_THROW(matmul_in_parts(a, Tensor::zeros({4, 12}, DType::f64), 1), DtypeError);
}

TEST(MatmulInParts, AsManyAsFillTheDevice) {
  EXPECT_EQ(matmul_parts(64, 32, 3211264, 132), 256);   // MobileNet's first pointwise convolution at batch 256
  EXPECT_EQ(matmul_parts(256, 128, 200704, 132), 128);  // two tiles, pieces of 1,568
  EXPECT_EQ(matmul_parts(512, 512, 50176, 132), 16);
  EXPECT_EQ(matmul_parts(1024, 512, 12544, 132), 1);  // tiles enough
  EXPECT_EQ(matmul_parts(64, 32, 3211264 + 1, 132), 1);
  EXPECT_EQ(matmul_parts(64, 32, 1024, 132), 1);
  EXPECT_EQ(matmul_parts(0, 32, 1 << 20, 132), 1);
}

// A gradient that matmul_wide cuts on CUDA by itself.
TEST(MatmulInParts, WeightGradient) {
  const std::int64_t m = 24, n = 16, k = 32768;
  const Tensor a = random_input({m, k}, 1), b = random_input({n, k}, 2), expected = naive_matmul(a, b, false, true);
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor c = matmul_wide(a.to(dtype).to(device), b.to(dtype).to(device), false, true);
      EXPECT_EQ(c.dtype(), DType::f32);
      EXPECT_LT(relative_error(c, expected), dtype == DType::f32 ? 2e-5 : 5e-3) << to_string(device);
    }
  }
}

// Where a product in bf16 is cut along k, the parts must be added before they are rounded: one rounding, not two.
TEST(Matmul, Bf16IsRoundedOnce) {
  for (const auto& [m, k, n] : {std::array<std::int64_t, 3>{1024, 512, 196}, {512, 2048, 49}, {64, 4096, 64}}) {
    const Tensor a = random_input({m, k}, 1).to(DType::bf16), b = random_input({k, n}, 2).to(DType::bf16);
    const Tensor expected = naive_matmul(a.to(DType::f64), b.to(DType::f64), false, false);
    for (const Device device : devices()) {
      const Tensor c = matmul(a.to(device), b.to(device)).to(kCpu).to(DType::f64);
      double worst = 0;
      for (std::int64_t i = 0; i < c.numel(); ++i) {
        const double want = expected.data<double>()[i], off = std::abs(c.data<double>()[i] - want);
        worst = std::max(worst, off - std::abs(want) / 256);  // half of bf16's last place is at most 2^-8 of the number
      }
      EXPECT_LT(worst, 1e-6 * static_cast<double>(k))
          << to_string(device) << ' ' << m << ' ' << k << ' ' << n;  // of f32 sums
    }
  }
}

TEST(Matmul, HardShapes) {
  check(matmul_case(-1, 1, 1, 1, false, false));
  check(matmul_case(-1, 1, 65, 1, false, true));
  check(matmul_case(-1, 33, 1, 17, true, false));
  check(matmul_case(-1, 0, 3, 2, false, false));
  check(matmul_case(-1, 2, 0, 3, false, false));
  check(matmul_case(-1, 2, 3, 0, true, true));
  check(matmul_case(0, 2, 3, 4, false, false));
  check(matmul_case(2, 2, 0, 3, false, true));
  check(matmul_case(1, 129, 70, 131, false, false));
}

OpCase linear_case(std::int64_t m, std::int64_t k, std::int64_t n, bool with_bias, Activation activation) {
  OpCase c;
  c.name = "linear " + to_string(Shape{m, k, n}) + (with_bias ? " bias" : "") + " activation " +
           std::to_string(static_cast<int>(activation));
  c.inputs = {random_input({m, k}, 3), random_input({k, n}, 4), with_bias ? random_input({m}, 5, 0.2, 1) : Tensor()};
  c.run = [=](const Vars& v) { return linear(v[0], v[1], v[2], activation); };
  c.reference = [=](const Tensors& t) {
    Tensor out = naive_matmul(t[0], t[1], false, false);
    for (std::int64_t i = 0; i < out.numel(); ++i) {
      double& value = out.data<double>()[i];
      if (with_bias) value += t[2].data<double>()[i / out.dim(1)];
      if (activation == Activation::relu) value = std::max(value, 0.0);
      if (activation == Activation::gelu) value *= 0.5 * std::erfc(-value / std::sqrt(2.0));
    }
    return out;
  };
  c.tf32_tolerance = 5e-3;
  c.bf16_roundings =
      3;  // of the product, of it with the bias (apart on CUDA), of the activation (apart when recording gelu)
  c.parameters = {false, false, true};
  c.allow_zeros = m == 0 || k == 0 || n == 0;
  return c;
}

TEST(Linear, EveryEpilogue) {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    for (const bool with_bias : {false, true}) {
      check(linear_case(7, 9, 5, with_bias, activation));
      check(linear_case(64, 32, 260, with_bias, activation));
    }
  }
}

TEST(Linear, HardShapes) {
  check(linear_case(1, 1, 1, true, Activation::none));
  check(linear_case(3, 0, 4, true, Activation::gelu));  // an empty sum, then bias and activation
  check(linear_case(0, 3, 4, true, Activation::relu));
  check(linear_case(3, 4, 0, true, Activation::relu));
}

TEST(Linear, KeepsNoTapeInEvaluation) {
  const Var w(random_input({3, 4}, 1)), x(random_input({4, 5}, 2));
  EXPECT_FALSE(linear(w, x, Var(), Activation::gelu).requires_grad());
}

TEST(Matmul, RefusesOperandsThatDoNotFit) {
  const auto zeros = [](Shape shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); };
  EXPECT_THROW(matmul(zeros({2, 3}), zeros({4, 5})), ShapeError);
  EXPECT_THROW(matmul(zeros({2, 3}), zeros({3, 5}), true), ShapeError);
  EXPECT_THROW(matmul(zeros({2, 3}), zeros({1, 3, 5})), ShapeError);
  EXPECT_THROW(matmul(zeros({2, 2, 3}), zeros({3, 3, 5})), ShapeError);
  EXPECT_THROW(matmul(zeros({3}), zeros({3})), ShapeError);
  EXPECT_THROW(matmul(zeros({2, 3}), zeros({3, 5}, DType::f64)), DtypeError);
  EXPECT_THROW(matmul(zeros({2, 3}, DType::i32), zeros({3, 5}, DType::i32)), DtypeError);
  EXPECT_THROW(linear(zeros({2, 3}), zeros({4, 5})), ShapeError);
  EXPECT_THROW(linear(zeros({2, 3}), zeros({3, 5}), zeros({3})), ShapeError);
  EXPECT_THROW(linear(zeros({2, 3}), zeros({3, 5}), zeros({2}, DType::f64)), DtypeError);
}

}  // namespace
}  // namespace lacuna
