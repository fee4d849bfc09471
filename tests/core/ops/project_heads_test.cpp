// The projections of attention as one product, against the reference and against separate products.
#include "core/ops/project_heads.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/cast.h"
#include "core/ops/heads.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

struct Sizes {
  std::int64_t f, heads, batch, t, d;
  std::int64_t m() const { return heads * d; }
  std::int64_t n() const { return batch * t; }
};

// q * k + v: each result's gradient is another.
Var combined(const Vars& results) { return add(mul(results[0], results[1]), results[2]); }

/// Inputs: x, and three times a weight and a bias.
Vars run(const Vars& in, const Sizes& s) {
  return project_heads({{in[1], in[2]}, {in[3], in[4]}, {in[5], in[6]}}, in[0], s.batch, s.heads);
}

// Element (head, sequence, token, feature) of projection i.
double projected(const Tensors& in, const Sizes& s, std::size_t i, std::int64_t h, std::int64_t b, std::int64_t t,
                 std::int64_t d) {
  const std::int64_t row = h * s.d + d, column = b * s.t + t;
  double sum = in[2 + 2 * i].defined() ? in[2 + 2 * i].data<double>()[row] : 0;
  for (std::int64_t k = 0; k < s.f; ++k)
    sum += in[1 + 2 * i].data<double>()[row * s.f + k] * in[0].data<double>()[k * s.n() + column];
  return sum;
}

Tensor reference(const Tensors& in, const Sizes& s) {
  const Tensor out = Tensor::empty({s.heads * s.batch, s.t, s.d}, DType::f64);
  std::int64_t at = 0;
  for (std::int64_t h = 0; h < s.heads; ++h)
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t t = 0; t < s.t; ++t)
        for (std::int64_t d = 0; d < s.d; ++d)
          out.data<double>()[at++] =
              projected(in, s, 0, h, b, t, d) * projected(in, s, 1, h, b, t, d) + projected(in, s, 2, h, b, t, d);
  return out;
}

TEST(ProjectHeads, ThreeAtOnce) {
  for (const Sizes& s : std::vector<Sizes>{{1, 1, 1, 1, 1}, {6, 2, 3, 5, 4}, {7, 3, 2, 9, 5}, {16, 2, 2, 24, 8}}) {
    for (const bool bias : {true, false}) {
      OpCase c{.name = "project_heads",
               .inputs = {random_input({s.f, s.n()}, 1)},
               .run = [=](const Vars& v) { return combined(run(v, s)); },
               .reference = [=](const Tensors& in) { return reference(in, s); }};
      for (std::uint64_t i = 0; i < 3; ++i) {
        c.inputs.push_back(random_input({s.m(), s.f}, 2 + 2 * i));
        c.inputs.push_back(bias ? random_input({s.m()}, 3 + 2 * i) : Tensor());
      }
      c.bf16_roundings = 10;  // of the weights, products, sums with the bias; q * k doubles them
      c.parameters = {false, true, true, true, true, true, true};
      check(c);
    }
  }
}

TEST(ProjectHeads, AgreesWithSeparateProducts) {
  const Sizes s{24, 2, 2, 16, 8};
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const auto leaf = [&](const Shape& shape, std::uint64_t seed, DType of) {
        return Var(random_input(shape, seed).to(of).to(device), true);
      };
      Vars gradients[2];
      for (const bool together : {false, true}) {
        Vars in{leaf({s.f, s.n()}, 1, dtype)};
        for (std::uint64_t i = 0; i < 3; ++i) {
          in.push_back(leaf({s.m(), s.f}, 2 + 2 * i, DType::f32));
          in.push_back(leaf({s.m()}, 3 + 2 * i, DType::f32));
        }
        Vars results;
        if (together) {
          results = run(in, s);
        } else {
          for (std::size_t i = 0; i < 3; ++i)
            results.push_back(split_heads(linear(cast(in[1 + 2 * i], dtype), in[0]), in[2 + 2 * i], s.batch, s.heads));
        }
        const Var out = combined(results);
        backward(out, random_input({s.heads * s.batch, s.t, s.d}, 9).to(dtype).to(device));
        gradients[together] = in;
      }
      for (std::size_t i = 0; i < gradients[0].size(); ++i) {
        EXPECT_EQ(gradients[1][i].grad().dtype(), gradients[0][i].grad().dtype());
        EXPECT_LT(relative_error(gradients[1][i].grad(), gradients[0][i].grad()), dtype == DType::bf16 ? 8e-3 : 1e-6);
        EXPECT_GT(nonzero_fraction(gradients[1][i].grad()), 0.5);
      }
    }
  }
}

TEST(ProjectHeads, AResultThatNobodyUses) {
  const Sizes s{6, 2, 1, 5, 4};
  Vars in{Var(random_input({s.f, s.n()}, 1), true)};
  for (std::uint64_t i = 0; i < 3; ++i) {
    in.emplace_back(random_input({s.m(), s.f}, 2 + 2 * i), true);
    in.emplace_back(random_input({s.m()}, 3 + 2 * i), true);
  }
  backward(run(in, s)[1], Tensor::full({2, 5, 4}, 1, DType::f64));
  EXPECT_EQ(nonzero_fraction(in[1].grad()), 0);
  EXPECT_GT(nonzero_fraction(in[3].grad()), 0.9);
  EXPECT_EQ(nonzero_fraction(in[5].grad()), 0);
  EXPECT_GT(nonzero_fraction(in[0].grad()), 0.9);
}

TEST(ProjectHeads, Refuses) {
  const Var x(Tensor::zeros({6, 4}, DType::f32)), w(Tensor::zeros({8, 6}, DType::f32));
  EXPECT_THROW(project_heads({}, x, 1, 2), ValueError);
  EXPECT_THROW(project_heads({{w, {}}, {Var(Tensor::zeros({4, 6}, DType::f32)), {}}}, x, 1, 2), ShapeError);
  EXPECT_THROW(project_heads({{Var(Tensor::zeros({8, 5}, DType::f32)), {}}}, x, 1, 2), ShapeError);
  EXPECT_THROW(project_heads({{Var(Tensor::zeros({8, 6}, DType::f64)), {}}}, x, 1, 2), DtypeError);
  EXPECT_THROW(project_heads({{w, Var(Tensor::zeros({6}, DType::f32))}}, x, 1, 2), ShapeError);
  EXPECT_THROW(project_heads({{w, {}}}, x, 1, 3), ShapeError);
}

}  // namespace
}  // namespace lacuna
