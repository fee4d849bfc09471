#include "core/ops/linear_dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/kernel_set.h"
#include "core/ops/activation_dropout.h"
#include "core/ops/matmul.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

constexpr RandomKey kKey{987654321ull, 55};

OpCase make_case(std::int64_t m, std::int64_t k, std::int64_t n, Activation kind, double p, bool bias) {
  OpCase c{.name = "linear_dropout " + std::to_string(m) + " " + std::to_string(k) + " " + std::to_string(n) +
                   " kind " + std::to_string(static_cast<int>(kind)) + " p " + std::to_string(p),
           .inputs = {random_input({m, k}, 1), random_input({k, n}, 2), bias ? random_input({m}, 3) : Tensor()},
           .run = [=](const Vars& v) { return linear_dropout(v[0], v[1], v[2], kind, p, kKey); },
           .reference =
               [=](const Tensors& in) {
                 const Tensor y = Tensor::empty({m, n}, DType::f64);
                 for (std::int64_t at = 0; at < m * n; ++at) {
                   double sum = bias ? in[2].data<double>()[at / n] : 0;
                   for (std::int64_t i = 0; i < k; ++i)
                     sum += in[0].data<double>()[at / n * k + i] * in[1].data<double>()[i * n + at % n];
                   const std::uint32_t word = philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(at));
                   const bool dropped = uniform_from_word(word) < static_cast<float>(p);
                   if (kind == Activation::relu) sum = std::max(sum, 0.0);
                   if (kind == Activation::gelu) sum = 0.5 * sum * std::erfc(-sum / std::sqrt(2.0));
                   y.data<double>()[at] = dropped ? 0 : sum / (1 - p);
                 }
                 return y;
               }};
  c.difference_tolerance = 1e-5;
  c.difference_step = 1e-6;
  c.bf16_roundings = 3;  // where it is two ops, the product is rounded between them
  c.bf16_gradient_roundings = 8;
  c.parameters = {false, false, true};
  c.allow_zeros = m * n < 8;
  return c;
}

TEST(LinearDropout, Shapes) {
  struct Sizes {
    std::int64_t m, k, n;
  };
  // Columns in eights, which one kernel takes on Hopper, and not; more than one tile of rows and of columns.
  for (const Sizes& s : std::vector<Sizes>{{1, 8, 8}, {5, 3, 7}, {9, 16, 24}, {130, 8, 264}}) {
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
      if (s.m > 100 && kind != Activation::relu) continue;  // central differences take their time
      for (const double p : {0.0, 0.25}) check(make_case(s.m, s.k, s.n, kind, p, true));
    }
    check(make_case(s.m, s.k, s.n, Activation::none, 0.25, false));
  }
}

TEST(LinearDropout, RefusesWhatDoesNotFit) {
  const Var w(random_input({4, 6}, 1)), x(random_input({6, 5}, 2));
  EXPECT_THROW(linear_dropout(x, w, {}, Activation::none, 0.5, kKey), ShapeError);
  EXPECT_THROW(linear_dropout(w, x, Var(random_input({5}, 3)), Activation::none, 0.5, kKey), ShapeError);
  EXPECT_THROW(linear_dropout(w, x, {}, Activation::none, 1.0, kKey), ValueError);
}

TEST(LinearDropout, IsOneKernelInBf16OnHopper) {
  for (const Device device : devices()) {
    const auto of = [&](const Shape& shape) { return Tensor::zeros(shape, DType::bf16, device); };
    const bool can = device.is_cuda() && allowed_kernels(device).bf16_product;
    EXPECT_EQ(linear_dropout_is_fused(of({2048, 64}), of({64, 2048}), Activation::relu), can);
    EXPECT_FALSE(linear_dropout_is_fused(of({2048, 64}), of({64, 2048}), Activation::gelu));
    EXPECT_FALSE(linear_dropout_is_fused(of({2048, 64}), of({64, 2047}), Activation::relu));
    EXPECT_FALSE(linear_dropout_is_fused(of({2048, 63}), of({63, 2048}), Activation::relu));
    EXPECT_FALSE(linear_dropout_is_fused(of({256, 64}), of({64, 2048}), Activation::relu)) << "too few tiles";
  }
}

// Large enough for the one kernel: against the two ops in f32, results and gradients.
TEST(LinearDropout, AgreesWithTheTwoOpsWhereItIsOneKernel) {
  for (const Device device : devices()) {
    const auto leaf = [&](const Shape& shape, std::uint64_t seed, DType dtype) {
      return Var(random_input(shape, seed).to(DType::bf16).to(dtype).to(device), true);
    };
    const auto run = [&](DType dtype, bool one) {
      const Vars in = {leaf({2040, 72}, 1, dtype), leaf({72, 2104}, 2, dtype), leaf({2040}, 3, DType::f32)};
      const Var y = one ? linear_dropout(in[0], in[1], in[2], Activation::relu, 0.25, kKey)
                        : activation_dropout(linear(in[0], in[1]), in[2], Activation::relu, 0.25, kKey);
      backward(y, random_input({2040, 2104}, 4).to(DType::bf16).to(dtype).to(device));
      return Tensors{y.data(), in[0].grad(), in[1].grad(), in[2].grad()};
    };
    const Tensors got = run(DType::bf16, true), want = run(DType::f32, false);
    // A sum near zero, rounded, may open or close its ReLU.
    for (std::size_t i = 0; i < got.size(); ++i)
      EXPECT_LT(relative_error(got[i], want[i]), (i == 0 ? 3 : 8) * kBf16Rounding) << i;
    EXPECT_TRUE(equal_bits(got[0], run(DType::bf16, true)[0]));
  }
}

}  // namespace
}  // namespace lacuna
