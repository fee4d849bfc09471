// Attention by rows of tokens: the projections, attention between them, and the sum of rows, each against its definition;
// and the whole against the ops with features first.
#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/ops/cast.h"
#include "core/ops/heads.h"
#include "core/ops/matmul.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/spmm.h"
#include "core/ops/sum_rows.h"
#include "core/ops/token_attention.h"
#include "core/ops/token_projections.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

// ---- sum_rows

TEST(SumRows, AddsDownTheColumns) {
  struct Size {
    std::int64_t m, n;
  };
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      if (device.is_cuda() && dtype == DType::f64) continue;
      for (const Size s :
           {Size{0, 3}, Size{3, 0}, Size{1, 1}, Size{7, 24}, Size{128, 300}, Size{129, 41}, Size{1000, 264}}) {
        const Tensor x = random_input({s.m, s.n}, 1).to(dtype);
        Tensor want = Tensor::zeros({s.n}, DType::f64);
        const Tensor wide = x.to(DType::f64);
        for (std::int64_t i = 0; i < s.m; ++i)
          for (std::int64_t j = 0; j < s.n; ++j) want.data<double>()[j] += wide.data<double>()[i * s.n + j];
        poison_free_memory(device, {static_cast<std::size_t>(s.n) * 4, static_cast<std::size_t>(s.n) * 32});
        const Tensor there = x.to(device), got = sum_rows(there);
        ASSERT_EQ(got.dtype(), accumulator_of(dtype));
        EXPECT_LT(relative_error(got, want), 2e-6) << s.m << " x " << s.n;
        EXPECT_TRUE(equal_bits(got, sum_rows(there)));
      }
    }
  }
  EXPECT_THROW(sum_rows(Tensor::zeros({3}, DType::f32)), ShapeError);
}

// ---- projections

/// [m, f] of a weight given dense or by its values.
Tensor dense_weight(const Tensor& values, const TopologyPtr& pattern) {
  return pattern ? naive_dense(values, *pattern) : values;
}

/// Inputs: x, and for each pattern (null: dense) a weight and a bias.
OpCase to_tokens_case(const std::vector<TopologyPtr>& patterns, std::int64_t m, std::int64_t f, std::int64_t n,
                      bool bias) {
  OpCase c;
  c.name = "project_to_tokens " + std::to_string(m) + " x " + std::to_string(f) + ", n " + std::to_string(n);
  c.inputs = {random_input({f, n}, 1)};
  c.parameters = {false};
  for (std::size_t i = 0; i < patterns.size(); ++i) {
    c.inputs.push_back(random_input(patterns[i] ? Shape{patterns[i]->nnz()} : Shape{m, f}, 2 + 2 * i));
    c.inputs.push_back(bias ? random_input({m}, 3 + 2 * i) : Tensor());
    c.parameters.insert(c.parameters.end(), {true, true});
  }
  c.run = [=](const Vars& v) {
    std::vector<TokenProjection> projections;
    for (std::size_t i = 0; i < patterns.size(); ++i)
      projections.push_back(
          {v[1 + 2 * i], patterns[i] ? beside(patterns[i], v[0]) : nullptr, bias ? v[2 + 2 * i] : Var(), nullptr});
    return project_to_tokens(projections, v[0]);
  };
  c.reference = [=](const Tensors& in) {
    const auto count = static_cast<std::int64_t>(patterns.size());
    const Tensor out = Tensor::empty({n, count * m}, DType::f64);
    for (std::int64_t i = 0; i < count; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const Tensor w = dense_weight(in[1 + 2 * at], patterns[at]);
      for (std::int64_t j = 0; j < n; ++j)
        for (std::int64_t r = 0; r < m; ++r) {
          double sum = bias ? in[2 + 2 * at].data<double>()[r] : 0;
          for (std::int64_t k = 0; k < f; ++k) sum += w.data<double>()[r * f + k] * in[0].data<double>()[k * n + j];
          out.data<double>()[j * count * m + i * m + r] = sum;
        }
    }
    return out;
  };
  c.tf32_tolerance = 2e-3;
  c.bf16_roundings = 3;  // of the weights, the bias and the result
  return c;
}

TEST(TokenProjections, ToTokens) {
  for (const bool bias : {true, false}) {
    check(to_tokens_case({nullptr}, 1, 1, 1, bias));
    check(to_tokens_case({nullptr, nullptr, nullptr}, 6, 5, 7, bias));
    check(to_tokens_case({nullptr, nullptr, nullptr}, 16, 24, 40, bias));
    check(to_tokens_case({awkward_topology(6, 5, 1), nullptr, random_topology(6, 5, 0.5, 2)}, 6, 5, 7, bias));
    check(to_tokens_case(std::vector<TopologyPtr>(5), 6, 5, 7, bias));  // more than are converted together
    const std::vector<TopologyPtr> sparse{awkward_topology(16, 24, 3), random_topology(16, 24, 0.7, 4),
                                          random_topology(16, 24, 0.5, 5)};
    check(to_tokens_case(sparse, 16, 24, 40, bias));
  }
}

TEST(TokenProjections, FromTokens) {
  struct Size {
    std::int64_t m, f, n;
  };
  for (const Size s : {Size{1, 1, 1}, Size{6, 5, 7}, Size{16, 24, 40}}) {
    for (const bool sparse : {false, true}) {
      if (sparse && s.m < 3) continue;
      const TopologyPtr pattern = sparse ? awkward_topology(s.m, s.f, 1) : nullptr;
      OpCase c;
      c.name = "project_from_tokens " + std::to_string(s.m) + " x " + std::to_string(s.f);
      c.inputs = {random_input({s.n, s.f}, 1), random_input(sparse ? Shape{pattern->nnz()} : Shape{s.m, s.f}, 2)};
      c.parameters = {false, true};
      c.run = [=](const Vars& v) {
        return project_from_tokens({v[1], pattern ? beside(pattern, v[0]) : nullptr, {}, nullptr}, v[0]);
      };
      c.reference = [=](const Tensors& in) {
        const Tensor w = dense_weight(in[1], pattern), out = Tensor::zeros({s.m, s.n}, DType::f64);
        for (std::int64_t r = 0; r < s.m; ++r)
          for (std::int64_t j = 0; j < s.n; ++j)
            for (std::int64_t k = 0; k < s.f; ++k)
              out.data<double>()[r * s.n + j] += w.data<double>()[r * s.f + k] * in[0].data<double>()[j * s.f + k];
        return out;
      };
      c.tf32_tolerance = 2e-3;
      c.bf16_roundings = 2;
      check(c);
    }
  }
}

TEST(TokenProjections, LeaveTheOperandsOfASparseWeightsGradient) {
  const TopologyPtr pattern = random_topology(6, 5, 0.5, 1);
  const Var x(random_input({5, 7}, 1), true), values(random_input({pattern->nnz()}, 2), true);
  const Var dense(random_input({6, 5}, 3), true);
  const auto pairs = std::make_shared<GradientPairs>(), others = std::make_shared<GradientPairs>();
  const Tensor dp = random_input({7, 12}, 4);
  backward(project_to_tokens({{dense, nullptr, {}, others}, {values, pattern, {}, pairs}}, x), dp);
  EXPECT_TRUE(others->pairs.empty());  // of sparse weights alone, as spmm
  ASSERT_EQ(pairs->pairs.size(), 1U);
  EXPECT_TRUE(equal_bits(pairs->pairs[0].dc, transpose(dp).slice(6, 12)));
  EXPECT_TRUE(equal_bits(pairs->pairs[0].b, x.data()));
  const Var rows(random_input({7, 5}, 5), true);
  const Tensor dz = random_input({6, 7}, 6);
  backward(project_from_tokens({values, pattern, {}, pairs}, rows), dz);
  ASSERT_EQ(pairs->pairs.size(), 2U);
  EXPECT_TRUE(equal_bits(pairs->pairs[1].dc, dz));
  EXPECT_TRUE(equal_bits(pairs->pairs[1].b, transpose(rows.data())));
}

TEST(TokenProjections, Refuse) {
  const auto zeros = [](const Shape& shape) { return Var(Tensor::zeros(shape, DType::f32)); };
  const Var x = zeros({6, 4}), w = zeros({8, 6});
  EXPECT_THROW(project_to_tokens({}, x), ValueError);
  EXPECT_THROW(project_to_tokens({{w}, {zeros({4, 6})}}, x), ShapeError);
  EXPECT_THROW(project_to_tokens({{zeros({8, 5})}}, x), ShapeError);
  EXPECT_THROW(project_to_tokens({{Var(Tensor::zeros({8, 6}, DType::f64))}}, x), DtypeError);
  EXPECT_THROW(project_to_tokens({{w, nullptr, zeros({6})}}, x), ShapeError);
  EXPECT_THROW(project_to_tokens({{w, Topology::full(8, 6)}}, x), ShapeError);  // values [nnz] are wanted
  EXPECT_THROW(project_from_tokens({w}, zeros({4, 8})), ShapeError);
  EXPECT_THROW(project_from_tokens({w, nullptr, zeros({8})}, zeros({4, 6})), ValueError);
}

// ---- attention

/// q, k or v (part 0, 1, 2) of rows of tokens, as [heads * batch, t, d].
Tensor part_of(const Tensor& qkv, std::int64_t part, std::int64_t batch, std::int64_t heads) {
  const std::int64_t t = qkv.dim(0) / batch, width = qkv.dim(1) / 3, d = width / heads;
  const Tensor out = Tensor::empty({heads * batch, t, d}, DType::f64);
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < t; ++i)
        for (std::int64_t e = 0; e < d; ++e)
          out.data<double>()[((h * batch + b) * t + i) * d + e] =
              qkv.data<double>()[(b * t + i) * 3 * width + part * width + h * d + e];
  return out;
}

/// [heads * batch, t, d] as rows of tokens.
Tensor rows_of(const Tensor& x, std::int64_t batch, std::int64_t heads) {
  const std::int64_t t = x.dim(1), d = x.dim(2);
  const Tensor out = Tensor::empty({batch * t, heads * d}, DType::f64);
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < t; ++i)
        for (std::int64_t e = 0; e < d; ++e)
          out.data<double>()[(b * t + i) * heads * d + h * d + e] = x.data<double>()[((h * batch + b) * t + i) * d + e];
  return out;
}

/// Patterns empty: causal. The reference is sparse_attention, whose own tests have loops.
OpCase attention_case(const std::vector<TopologyPtr>& patterns, std::int64_t t, std::int64_t batch, std::int64_t heads,
                      std::int64_t d, double p = 0) {
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  const RandomKey key{7, 3};
  OpCase c;
  c.name = "token_attention t " + std::to_string(t) + " batch " + std::to_string(batch) + " heads " +
           std::to_string(heads) + " d " + std::to_string(d) + " p " + std::to_string(p);
  c.inputs = {random_input({batch * t, 3 * heads * d}, 1)};
  c.run = [=](const Vars& v) {
    if (patterns.empty()) return causal_token_attention(v[0], batch, heads, scale, p, key);
    std::vector<TopologyPtr> moved;
    for (const TopologyPtr& pattern : patterns) moved.push_back(beside(pattern, v[0]));
    return token_attention(v[0], moved, batch, heads, scale, p, key);
  };
  c.reference = [=](const Tensors& in) {
    const Tensor q = part_of(in[0], 0, batch, heads), k = part_of(in[0], 1, batch, heads),
                 v = part_of(in[0], 2, batch, heads);
    return rows_of(patterns.empty() ? causal_attention(q, k, v, heads, scale, p, key)
                                    : sparse_attention(q, k, v, patterns, heads, scale, p, key),
                   batch, heads);
  };
  c.tf32_tolerance = 5e-3;
  c.bf16_roundings = 1;           // f32 between q, k, v and the result
  c.bf16_gradient_roundings = 4;  // as sparse_attention's
  return c;
}

TEST(TokenAttention, AgreesWithSparseAttention) {
  OpCase alone = attention_case({Topology::full(1, 1)}, 1, 1, 1, 1);
  alone.check_gradient = false;  // of q and k of a softmax over one entry: 0
  check(alone);
  check(attention_case({awkward_topology(9, 9, 1)}, 9, 1, 1, 4));  // one head, d that no fused kernel takes
  check(attention_case({awkward_topology(11, 11, 2)}, 11, 3, 2, 5));
  const std::vector<TopologyPtr> per_head{awkward_topology(9, 9, 1), random_topology(9, 9, 0.5, 2),
                                          Topology::full(9, 9)};
  check(attention_case(per_head, 9, 2, 3, 4, 0.3));
  for (const std::int64_t d : {32, 64, 128}) {
    OpCase small = attention_case({awkward_topology(9, 9, 5)}, 9, 1, 1, d, 0.2);
    small.check_gradient = d == 32;
    check(small);
    OpCase several = attention_case({random_topology(9, 9, 0.4, 5), awkward_topology(9, 9, 6)}, 9, 2, 2, d);
    several.check_gradient = d == 32;
    check(several);
    OpCase larger = attention_case({random_topology(147, 147, 0.7, 2)}, 147, 2, 2, d, 0.1);
    larger.check_gradient = false;
    check(larger);
  }
}

TEST(TokenAttention, Causal) {
  check(attention_case({}, 9, 3, 2, 5));
  for (const std::int64_t d : {32, 128}) {
    for (const std::int64_t t : {17, 131}) {
      OpCase c = attention_case({}, t, 2, 2, d, 0.1);
      c.check_gradient = t < 100 && d == 32;
      check(c);
    }
  }
}

TEST(TokenAttention, TakesEmptyInputsAndRefusesWhatDoesNotFit) {
  const auto zeros = [](const Shape& shape) { return Var(Tensor::zeros(shape, DType::f32)); };
  EXPECT_EQ(token_attention(zeros({0, 12}), {Topology::full(0, 0)}, 1, 2, 1).data().numel(), 0);
  const Var x = zeros({6, 12});
  const TopologyPtr pattern = Topology::full(3, 3);
  EXPECT_EQ(token_attention(x, {pattern}, 2, 2, 1).shape(), (Shape{6, 4}));
  EXPECT_THROW(token_attention(x, {pattern}, 4, 2, 1), ShapeError);
  EXPECT_THROW(token_attention(x, {pattern}, 2, 3, 1), ShapeError);
  EXPECT_THROW(token_attention(x, {Topology::full(3, 4)}, 2, 2, 1), ShapeError);
  EXPECT_THROW(token_attention(x, {pattern, pattern, pattern}, 2, 2, 1), ValueError);
  EXPECT_THROW(token_attention(x, {}, 2, 2, 1), ValueError);
  EXPECT_THROW(token_attention(x, {nullptr}, 2, 2, 1), ValueError);
  EXPECT_THROW(token_attention(x, {pattern}, 2, 2, 1, 1.0), ValueError);
  EXPECT_THROW(causal_token_attention(x, 2, 2, 1, -0.1), ValueError);
}

TEST(TokenAttention, FusedMakesTheSameBitsAsSparseAttention) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const std::int64_t t = 300, batch = 2, heads = 2, d = 128;
      const TopologyPtr pattern = random_topology(t, t, 0.6, 3)->to(device);
      const Tensor qkv = random_input({batch * t, 3 * heads * d}, 1).to(dtype);
      const Tensor dout = random_input({batch * t, heads * d}, 2).to(dtype);
      const Var rows(qkv.to(device), true);
      const Var out = token_attention(rows, {pattern}, batch, heads, 0.1, 0.1, {7, 3});
      backward(out, dout.to(device));
      std::vector<Var> parts;
      for (std::int64_t i = 0; i < 3; ++i)
        parts.emplace_back(part_of(qkv.to(DType::f64), i, batch, heads).to(dtype).to(device), true);
      const Var want = sparse_attention(parts[0], parts[1], parts[2], {pattern}, heads, 0.1, 0.1, {7, 3});
      const auto turned = [&](const Tensor& x) { return rows_of(x.to(kCpu).to(DType::f64), batch, heads); };
      EXPECT_TRUE(equal_bits(out.data().to(kCpu).to(DType::f64), turned(want.data())));
      // dout as [heads * batch, t, d]: the first of three equal parts.
      Tensor thrice = Tensor::empty({batch * t, 3 * heads * d}, DType::f64);
      const Tensor wide = dout.to(DType::f64);
      for (std::int64_t i = 0; i < batch * t; ++i)
        for (std::int64_t j = 0; j < 3 * heads * d; ++j)
          thrice.data<double>()[i * 3 * heads * d + j] = wide.data<double>()[i * heads * d + j % (heads * d)];
      backward(want, part_of(thrice, 0, batch, heads).to(dtype).to(device));
      const Tensor got = rows.grad().to(kCpu).to(DType::f64);
      for (std::int64_t i = 0; i < 3; ++i)
        EXPECT_TRUE(equal_bits(part_of(got, i, batch, heads),
                               parts[static_cast<std::size_t>(i)].grad().to(kCpu).to(DType::f64)))
            << "part " << i;
    }
  }
}

// ---- the whole of a layer

TEST(TokenAttention, ALayerAgreesWithFeaturesFirst) {
  const std::int64_t batch = 2, heads = 2, t = 37, d = 64, f = heads * d, n = batch * t;
  for (const Device device : devices()) {
    for (const bool sparse : {false, true}) {
      std::vector<Tensor> exact;  // the gradients in f32
      for (const DType dtype : {DType::f32, DType::bf16}) {
        const TopologyPtr mask = awkward_topology(t, t, 3)->to(device);
        std::vector<TopologyPtr> patterns;
        for (unsigned i = 0; i < 4; ++i)
          patterns.push_back(sparse ? random_topology(f, f, 0.5, 10 + i)->to(device) : nullptr);
        Vars of[2];
        Tensor results[2];
        for (const bool tokens : {false, true}) {
          Vars in{Var(random_input({f, n}, 1).to(dtype).to(device), true)};
          for (std::uint64_t i = 0; i < 4; ++i) {
            const Shape shape = sparse ? Shape{patterns[i]->nnz()} : Shape{f, f};
            in.emplace_back(random_input(shape, 2 + i, -0.15, 0.15).to(DType::f32).to(device), true);
          }
          for (std::uint64_t i = 0; i < 3; ++i)  // no rounding: it is one error in every token, which a sum would keep
            in.emplace_back(random_input({f}, 7 + i).to(DType::bf16).to(DType::f32).to(device), true);
          Var out;
          if (tokens) {
            const Var qkv = project_to_tokens(
                {{in[1], patterns[0], in[5]}, {in[2], patterns[1], in[6]}, {in[3], patterns[2], in[7]}}, in[0]);
            out = project_from_tokens({in[4], patterns[3]},
                                      token_attention(qkv, {mask}, batch, heads, 0.125, 0.2, {7, 3}));
          } else {
            const auto multiply = [&](std::size_t i, const Var& x) {
              if (sparse) return spmm(SparseVar{cast(in[1 + i], dtype), patterns[i]}, x);
              return linear(cast(in[1 + i], dtype), x);
            };
            Vars parts;
            for (std::size_t i = 0; i < 3; ++i)
              parts.push_back(split_heads(multiply(i, in[0]), in[5 + i], batch, heads));
            out = multiply(
                3, merge_heads(sparse_attention(parts[0], parts[1], parts[2], {mask}, heads, 0.125, 0.2, {7, 3}), batch,
                               heads));
          }
          backward(out, random_input({f, n}, 20).to(dtype).to(device));
          of[tokens] = in, results[tokens] = out.data();
        }
        // bf16: the product was rounded before the bias was added and after; now once, with a rounded bias. Both errors are
        // of a last place in q, k and v, as are those of dx.
        // A gradient that is a difference of nearly equal sums may be far off both ways: no farther this way.
        EXPECT_LT(relative_error(results[1], results[0]), dtype == DType::bf16 ? 1.5e-2 : 1e-5);
        for (std::size_t i = 0; i < of[0].size(); ++i) {
          SCOPED_TRACE("input " + std::to_string(i) + (sparse ? ", sparse" : ", dense"));
          ASSERT_EQ(of[1][i].grad().dtype(), of[0][i].grad().dtype());
          if (i == 6) continue;  // the key's bias: its gradient is 0 but for rounding, a softmax being blind to it
          if (dtype == DType::f32) {
            EXPECT_LT(relative_error(of[1][i].grad(), of[0][i].grad()), 1e-5);
          } else {
            EXPECT_LT(relative_error(of[1][i].grad(), exact[i]), 2 * relative_error(of[0][i].grad(), exact[i]) + 2e-3);
          }
          EXPECT_GT(nonzero_fraction(of[1][i].grad()), 0.5);
        }
        for (const Var& x : of[0]) exact.push_back(x.grad());
      }
    }
  }
}

}  // namespace
}  // namespace lacuna
