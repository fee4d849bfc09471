#include "core/ops/residual_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/layer_norm.h"
#include "core/ops/pointwise.h"
#include "core/record_pair.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

constexpr RandomKey kKey{1234567890123ull, 77};

/// What of the two results a case looks at: r, y, or r + y * y, which sends a gradient through both.
enum class Seen { residual, normalised, both };

Tensor reference(const Tensors& in, double p, Seen seen) {
  const std::int64_t f = in[0].dim(0), n = in[0].dim(1);
  const Tensor out = Tensor::empty({f, n}, DType::f64);
  std::vector<double> r(static_cast<std::size_t>(f));
  for (std::int64_t j = 0; j < n; ++j) {
    double mean = 0, var = 0;
    for (std::int64_t i = 0; i < f; ++i) {
      const std::int64_t at = i * n + j;
      const double h = in[1].data<double>()[at] + (in[2].defined() ? in[2].data<double>()[i] : 0);
      const float u = uniform_from_word(philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(at)));
      const bool dropped = u < static_cast<float>(p);
      r[static_cast<std::size_t>(i)] = in[0].data<double>()[at] + (dropped ? 0 : h / (1 - p));
      mean += r[static_cast<std::size_t>(i)] / static_cast<double>(f);
    }
    for (std::int64_t i = 0; i < f; ++i)
      var += std::pow(r[static_cast<std::size_t>(i)] - mean, 2) / static_cast<double>(f);
    for (std::int64_t i = 0; i < f; ++i) {
      const double own = r[static_cast<std::size_t>(i)];
      const double y = (own - mean) / std::sqrt(var + 1e-5) * in[3].data<double>()[i] + in[4].data<double>()[i];
      out.data<double>()[i * n + j] = seen == Seen::residual ? own : seen == Seen::normalised ? y : own + y * y;
    }
  }
  return out;
}

OpCase make_case(std::int64_t f, std::int64_t n, double p, bool h_bias, Seen seen) {
  OpCase c{.name = "residual_norm " + to_string(Shape{f, n}) + " p " + std::to_string(p) + " bias " +
                   std::to_string(h_bias) + " seen " + std::to_string(static_cast<int>(seen)),
           .inputs = {random_input({f, n}, 1, -1, 2), random_input({f, n}, 2), h_bias ? random_input({f}, 3) : Tensor(),
                      random_input({f}, 4, 0.5, 1.5), random_input({f}, 5)},
           .run =
               [=](const Vars& v) {
                 const ResidualNormVars result = residual_norm(v[0], v[1], v[2], v[3], v[4], p, kKey);
                 if (seen == Seen::residual) return result.residual;
                 if (seen == Seen::normalised) return result.normalised;
                 return add(result.residual, mul(result.normalised, result.normalised));
               },
           .reference = [=](const Tensors& in) { return reference(in, p, seen); }};
  c.difference_tolerance = 1e-5;  // differences of a sum over f * n lose digits
  // The sum is rounded, which the norm magnifies; the norm, its square (twice as far off), their sum.
  c.bf16_roundings = 6;
  c.bf16_gradient_roundings = 12;
  c.parameters = {false, false, true, true, true};
  return c;
}

TEST(ResidualNorm, Shapes) {
  // Rows: each number that the CUDA kernels hold, and more than any holds. Columns: packs of four and single ones;
  // below, at and past a block, and more blocks than the gradient has.
  for (const auto& [f, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{9, 1},
                                                                               {3, 4},
                                                                               {5, 7},
                                                                               {100, 33},
                                                                               {200, 32},
                                                                               {400, 12},
                                                                               {400, 9},
                                                                               {700, 3},
                                                                               {700, 20},
                                                                               {1100, 4},
                                                                               {1100, 3},
                                                                               {7, 600},
                                                                               {6, 5000},
                                                                               {5, 2501}}) {
    for (const double p : {0.0, 0.3}) check(make_case(f, n, p, true, Seen::both));
  }
}

TEST(ResidualNorm, ShapesOfClusters) {
  // bf16 in rows of whole packs of eight: clusters of one block of 128 rows, of two, four and eight; the last of them
  // full, with one row, without any. One pack, a tile of 64 columns, the pack behind it.
  for (const auto& [f, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 8}, {128, 64}, {129, 72}, {300, 24}, {512, 16}, {600, 8}, {1024, 24}, {1025, 8}}) {
    for (const double p : {0.0, 0.3}) {
      OpCase c = make_case(f, n, p, true, Seen::both);
      c.check_gradient = f > 1;  // one row is its own mean: gradients of 0
      check(c);
    }
  }
}

// More tiles than clusters: their next tile, the sums over tiles. The other backend and a second run are what is right.
TEST(ResidualNorm, ManyTiles) {
  const std::int64_t f = 700, n = 4200;
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto run = [&](Device device) {
      const auto leaf = [&](const Shape& shape, std::uint64_t seed) {
        return Var(random_input(shape, seed, -1, 2).to(shape.rank() == 1 ? DType::f32 : dtype).to(device), true);
      };
      const Vars v = {leaf({f, n}, 1), leaf({f, n}, 2), leaf({f}, 3), leaf({f}, 4), leaf({f}, 5)};
      const ResidualNormVars result = residual_norm(v[0], v[1], v[2], v[3], v[4], 0.3, kKey);
      const Tensor seed = random_input({f, n}, 6).to(dtype).to(device);
      backward(add(mul(result.normalised, result.normalised), result.residual), seed);
      Tensors out = {result.residual.data(), result.normalised.data()};
      for (const Var& input : v) out.push_back(input.grad());
      return out;
    };
    const Tensors on_cpu = run(kCpu);
    for (const Device device : devices()) {
      const Tensors first = run(device), second = run(device);
      for (std::size_t i = 0; i < first.size(); ++i) {
        EXPECT_TRUE(equal_bits(first[i], second[i])) << to_string(dtype) << " " << i;
        EXPECT_LE(relative_error(first[i], on_cpu[i]), dtype == DType::f32 ? 1e-4 : 1e-2)
            << to_string(dtype) << " " << i;
      }
    }
  }
}

TEST(ResidualNorm, EitherResultAlone) {
  for (const Seen seen : {Seen::residual, Seen::normalised}) {
    for (const bool h_bias : {false, true}) {
      for (const double p : {0.0, 0.5}) {
        OpCase c = make_case(20, 36, p, h_bias, seen);
        if (seen == Seen::residual) c.differentiable = {true, true, true, false, false};
        check(c);
      }
    }
  }
}

TEST(ResidualNorm, Empty) {
  OpCase c = make_case(4, 0, 0.2, true, Seen::both);
  c.allow_zeros = true;
  check(c);
  const Tensor none = Tensor::empty({0}, DType::f32), matrix = Tensor::empty({0, 3}, DType::f32);
  EXPECT_EQ(residual_norm(matrix, matrix, none, none, none).normalised.numel(), 0);
}

// On the CPU the op is the separate ones, bit for bit: a model that switches keeps its trajectory.
TEST(ResidualNorm, SameBitsAsTheSeparateOps) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const auto& [f, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{48, 130}, {33, 64}, {300, 260}}) {
      for (const double p : {0.0, 0.2}) {
        const auto leaf = [&](const Shape& shape, std::uint64_t seed) {
          return Var(random_input(shape, seed, -1, 2).to(dtype), true);
        };
        const Vars a = {leaf({f, n}, 1), leaf({f, n}, 2), leaf({f}, 3), leaf({f}, 4), leaf({f}, 5)};
        const Vars b = {leaf({f, n}, 1), leaf({f, n}, 2), leaf({f}, 3), leaf({f}, 4), leaf({f}, 5)};
        const ResidualNormVars fused = residual_norm(a[0], a[1], a[2], a[3], a[4], p, kKey);
        const Var r = add(b[0], dropout(add_bias(b[1], b[2]), p, kKey));
        const Var y = layer_norm(r, b[3], b[4]);
        EXPECT_TRUE(equal_bits(fused.residual.data(), r.data()));
        EXPECT_TRUE(equal_bits(fused.normalised.data(), y.data()));
        const Tensor seed = random_input({f, n}, 6).to(dtype);
        const auto loss = [](const Var& stream, const Var& normal) { return add(mul(normal, normal), stream); };
        backward(loss(fused.residual, fused.normalised), seed);
        backward(loss(r, y), seed);
        for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(equal_bits(a[i].grad(), b[i].grad())) << "input " << i;
      }
    }
  }
}

// Nothing added: r is x, and the stream's gradient is added where the norm's is made.
TEST(ResidualNorm, WithoutABranch) {
  for (const auto& [f, n] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{9, 5}, {700, 20}, {1100, 3}, {300, 72}, {7, 0}}) {
    for (const Seen seen : {Seen::residual, Seen::normalised, Seen::both}) {
      OpCase c{.name = "residual_norm without a branch " + to_string(Shape{f, n}) + " seen " +
                       std::to_string(static_cast<int>(seen)),
               .inputs = {random_input({f, n}, 1, -1, 2), random_input({f}, 4, 0.5, 1.5), random_input({f}, 5)},
               .run =
                   [=](const Vars& v) {
                     const ResidualNormVars result = residual_norm(v[0], {}, {}, v[1], v[2]);
                     EXPECT_EQ(result.residual.data().raw(), v[0].data().raw());
                     if (seen == Seen::residual) return result.residual;
                     if (seen == Seen::normalised) return result.normalised;
                     return add(result.residual, mul(result.normalised, result.normalised));
                   },
               .reference =
                   [=](const Tensors& in) {
                     return reference({in[0], Tensor::zeros({f, n}, DType::f64), {}, in[1], in[2]}, 0, seen);
                   }};
      if (seen == Seen::residual) c.differentiable = {true, false, false};
      c.difference_tolerance = 1e-5;
      c.bf16_roundings = 6;
      c.bf16_gradient_roundings = 12;
      c.parameters = {false, true, true};
      c.allow_zeros = n == 0;
      check(c);
    }
  }
  for (const DType dtype : {DType::f32, DType::f64}) {  // on the CPU, bit for bit
    const auto leaf = [&](const Shape& shape, std::uint64_t seed) {
      return Var(random_input(shape, seed, -1, 2).to(dtype), true);
    };
    const Vars a = {leaf({33, 64}, 1), leaf({33}, 4), leaf({33}, 5)},
               b = {leaf({33, 64}, 1), leaf({33}, 4), leaf({33}, 5)};
    const ResidualNormVars fused = residual_norm(a[0], {}, {}, a[1], a[2]);
    const Var y = layer_norm(b[0], b[1], b[2]);
    EXPECT_TRUE(equal_bits(fused.normalised.data(), y.data()));
    const Tensor seed = random_input({33, 64}, 6).to(dtype);
    const auto loss = [](const Var& stream, const Var& normal) { return add(mul(normal, normal), stream); };
    backward(loss(fused.residual, fused.normalised), seed);
    backward(loss(b[0], y), seed);
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(equal_bits(a[i].grad(), b[i].grad())) << "input " << i;
  }
}

TEST(ResidualNorm, NanStaysInItsColumnAndADroppedOneIsDropped) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      Tensor h = random_input({64, 16}, 1).to(DType::f32);
      std::int64_t kept = -1, dropped = -1;
      for (std::int64_t at = 0; at < 16; ++at) {  // row 0: one column of each kind
        const auto word = philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(at));
        (uniform_from_word(word) < 0.5f ? dropped : kept) = at;
      }
      ASSERT_TRUE(kept >= 0 && dropped >= 0);
      h.data<float>()[kept] = h.data<float>()[dropped] = std::numeric_limits<float>::quiet_NaN();
      const Tensor x = random_input({64, 16}, 2).to(dtype).to(device);
      const Tensor gain = Tensor::full({64}, 1, DType::f32, device), bias = Tensor::zeros({64}, DType::f32, device);
      const Tensor out = residual_norm(x, h.to(dtype).to(device), {}, gain, bias, 0.5, kKey).normalised;
      const auto y = out.to(DType::f32).to_vector<float>();
      for (std::size_t i = 0; i < y.size(); ++i)
        EXPECT_EQ(std::isnan(y[i]), static_cast<std::int64_t>(i % 16) == kept) << to_string(dtype) << " " << i;
    }
  }
}

TEST(ResidualNorm, KeepsNothingBesideItsResults) {
  const Var x(random_input({64, 256}, 1), true), h(random_input({64, 256}, 2), true);
  const Var gain(Tensor::full({64}, 1, DType::f64)), bias(Tensor::zeros({64}, DType::f64));
  const std::size_t before = memory_stats(kCpu).live_bytes;
  const ResidualNormVars result = residual_norm(x, h, {}, gain, bias, 0.1, kKey);
  EXPECT_LE(memory_stats(kCpu).live_bytes - before, 2 * x.data().nbytes() + 2 * 256 * 8 + 512);
}

TEST(ResidualNorm, Errors) {
  const Tensor x = Tensor::zeros({4, 3}, DType::f32), v = Tensor::zeros({4}, DType::f32);
  EXPECT_THROW(residual_norm(x, Tensor::zeros({4, 2}, DType::f32), {}, v, v), ShapeError);
  EXPECT_THROW(residual_norm(x, x, Tensor::zeros({3}, DType::f32), v, v), ShapeError);
  EXPECT_THROW(residual_norm(x, x, {}, Tensor::zeros({3}, DType::f32), v), ShapeError);
  EXPECT_THROW(residual_norm(x, x, {}, v, Tensor::zeros({4}, DType::f64)), DtypeError);
  EXPECT_THROW(residual_norm(x, x, {}, v, v, 1.0), ValueError);
  EXPECT_THROW(residual_norm(v, v, {}, v, v), ShapeError);
}

TEST(RecordPair, HandsOverWhatArrived) {
  const Var x(Tensor::full({2}, 3, DType::f64), true);
  const auto split = [&] {  // first = x, second = 2 x
    return record_pair("split", x.data().clone(), scale(x.data(), 2), {x},
                       [](const Tensor& dfirst, const Tensor& dsecond, Grads& grads) {
                         grads.add(0, [&] {
                           const Tensor twice = dsecond.defined() ? scale(dsecond, 2) : Tensor();
                           if (!dfirst.defined()) return twice;
                           return twice.defined() ? add(dfirst, twice) : dfirst;
                         });
                       });
  };
  const Tensor one = Tensor::full({2}, 1, DType::f64);
  const auto gradient = [&](const Var& root) {
    x.clear_grad();
    backward(root, one);
    return x.grad().to_vector<double>()[0];
  };
  EXPECT_EQ(gradient(split().first), 1);
  EXPECT_EQ(gradient(split().second), 2);
  const VarPair both = split();
  EXPECT_EQ(gradient(add(mul(both.first, both.second), both.first)), 2 * 3 + 2 * 3 + 1);
  const VarPair constant = record_pair("split", one, one, {Var(one)}, [](const Tensor&, const Tensor&, Grads&) {});
  EXPECT_FALSE(constant.first.requires_grad() || constant.second.requires_grad());
}

}  // namespace
}  // namespace lacuna
