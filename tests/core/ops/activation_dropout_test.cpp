#include "core/ops/activation_dropout.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

constexpr RandomKey kKey{1234567890123ull, 77};

double activated(Activation kind, double x) {
  if (kind == Activation::relu) return std::max(x, 0.0);
  return kind == Activation::gelu ? 0.5 * x * std::erfc(-x / std::sqrt(2.0)) : x;
}

OpCase make_case(const Shape& shape, Activation kind, double p, bool bias) {
  OpCase c{.name = "activation_dropout " + to_string(shape) + " kind " + std::to_string(static_cast<int>(kind)) +
                   " p " + std::to_string(p) + " bias " + std::to_string(bias),
           .inputs = {random_input(shape, 1), bias ? random_input({shape[0]}, 2, -0.5, 0.7) : Tensor()},
           .run = [=](const Vars& v) { return activation_dropout(v[0], v[1], kind, p, kKey); },
           .reference =
               [=](const Tensors& in) {
                 const Tensor y = Tensor::empty(shape, DType::f64);
                 for (std::int64_t at = 0; at < y.numel(); ++at) {
                   const double x = in[0].data<double>()[at] + (bias ? in[1].data<double>()[at / shape[1]] : 0);
                   const std::uint32_t word = philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(at));
                   const bool dropped = uniform_from_word(word) < static_cast<float>(p);
                   y.data<double>()[at] = dropped ? 0 : activated(kind, x) / (1 - p);
                 }
                 return y;
               }};
  c.difference_tolerance = 1e-5;
  c.difference_step = 1e-6;
  c.allow_zeros = shape.numel() < 8;
  return c;
}

TEST(ActivationDropout, Shapes) {
  // Columns: packs of four and single ones; on CUDA one piece of a row and several, one sum of the bias's gradient and
  // two.
  for (const Shape& shape : std::vector<Shape>{{1, 9}, {3, 8}, {5, 33}, {2, 4104}, {3, 4099}, {200, 12}, {3, 0}}) {
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu})
      for (const double p : {0.0, 0.25}) check(make_case(shape, kind, p, true));
  }
}

TEST(ActivationDropout, WithoutABias) {
  for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu})
    check(make_case({7, 20}, kind, 0.25, false));
}

// On the CPU the op is the separate ones, bit for bit.
TEST(ActivationDropout, SameBitsAsTheSeparateOps) {
  const Shape shape{20, 1303};
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
      for (const double p : {0.0, 0.3}) {
        const auto leaf = [&](const Shape& s, std::uint64_t seed) {
          return Var(random_input(s, seed).to(dtype), true);
        };
        const Vars a = {leaf(shape, 1), leaf({20}, 2)}, b = {leaf(shape, 1), leaf({20}, 2)};
        const Var fused = activation_dropout(a[0], a[1], kind, p, kKey);
        const Var separate = dropout(activation(add_bias(b[0], b[1]), kind), p, kKey);
        EXPECT_TRUE(equal_bits(fused.data(), separate.data()));
        backward(fused, random_input(shape, 3).to(dtype));
        backward(separate, random_input(shape, 3).to(dtype));
        for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(equal_bits(a[i].grad(), b[i].grad())) << i;
      }
    }
  }
}

TEST(ActivationDropout, OverwritesWhatNobodyElseHolds) {
  for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
    const Var leaf(random_input({8, 64}, 1), true);
    Var product = scale(leaf, 2);
    const void* storage = product.data().raw();
    const Var y = activation_dropout(std::move(product), Var(), kind, 0.5, kKey);
    EXPECT_EQ(y.data().raw() == storage, kind != Activation::gelu);  // gelu's gradient needs its input
    const Tensor before = leaf.data().clone();
    activation_dropout(leaf, Var(), kind, 0.5, kKey);
    EXPECT_TRUE(equal_bits(leaf.data(), before));
  }
}

TEST(ActivationDropout, BiasGradientInOnePass) {
  for (const Device device : devices()) {
    const Tensor saved = random_input({6, 5000}, 1).to(DType::f32).to(device);
    const Tensor dc = random_input({6, 5000}, 2, 0, 1).to(DType::f32).to(device), before = dc.clone();
    const Tensor second_handle = dc;  // so it must not be overwritten
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
      const BiasedGradient both = activation_bias_gradient(saved, dc, kind, true);
      const Tensor dx = activation_gradient(saved, dc, kind);
      EXPECT_LE(relative_error(both.dx, dx), 1e-7);
      EXPECT_LE(relative_error(both.dbias, sum_columns(dx)), 1e-6);
      EXPECT_FALSE(activation_bias_gradient(saved, dc, kind, false).dbias.defined());
      EXPECT_TRUE(equal_bits(dc, before));
    }
  }
}

TEST(ActivationDropout, NanPassesAndADroppedOneIsDropped) {
  for (const Device device : devices()) {
    const Tensor nan = Tensor::full({10, 100}, std::numeric_limits<double>::quiet_NaN(), DType::f32, device);
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
      int zeros = 0, nans = 0;
      for (const float v : activation_dropout(nan, Tensor(), kind, 0.5, kKey).to_vector<float>())
        (v == 0 ? zeros : nans) += 1;
      EXPECT_GT(zeros, 400);
      EXPECT_GT(nans, 400);
    }
  }
}

TEST(ActivationDropout, Errors) {
  const Tensor x = Tensor::zeros({4, 3}, DType::f32);
  EXPECT_THROW(activation_dropout(x, Tensor::zeros({3}, DType::f32), Activation::relu, 0.1, kKey), ShapeError);
  EXPECT_THROW(activation_dropout(x, Tensor::zeros({4}, DType::f64), Activation::relu, 0.1, kKey), DtypeError);
  EXPECT_THROW(activation_dropout(x, Tensor(), Activation::relu, 1.0, kKey), ValueError);
  EXPECT_THROW(activation_dropout(Tensor::zeros({4}, DType::f32), Tensor(), Activation::relu, 0.1, kKey), ShapeError);
}

}  // namespace
}  // namespace lacuna
