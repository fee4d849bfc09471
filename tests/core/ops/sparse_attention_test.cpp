#include "core/ops/sparse_attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

Tensor naive_attention(const std::vector<Tensor>& in, const std::vector<TopologyPtr>& patterns, std::int64_t heads,
                       double scale) {
  const std::int64_t matrices = in[0].dim(0), t = in[0].dim(1), d = in[0].dim(2);
  Tensor out = Tensor::zeros(in[0].shape(), DType::f64);
  for (std::int64_t x = 0; x < matrices; ++x) {
    const Topology& pattern = *patterns[patterns.size() == 1 ? 0 : static_cast<std::size_t>(x / (matrices / heads))];
    const std::vector<std::int32_t> offsets = pattern.row_offsets().to_vector<std::int32_t>();
    const std::vector<std::int32_t> columns = pattern.col_indices().to_vector<std::int32_t>();
    const double* q = in[0].data<double>() + x * t * d;
    const double* k = in[1].data<double>() + x * t * d;
    const double* v = in[2].data<double>() + x * t * d;
    for (std::int64_t i = 0; i < t; ++i) {
      double sum = 0;
      std::vector<double> row(static_cast<std::size_t>(d), 0);
      for (std::int32_t e = offsets[static_cast<std::size_t>(i)]; e < offsets[static_cast<std::size_t>(i) + 1]; ++e) {
        const std::int64_t j = columns[static_cast<std::size_t>(e)];
        double score = 0;
        for (std::int64_t f = 0; f < d; ++f) score += q[i * d + f] * k[j * d + f];
        const double weight = std::exp(scale * score);
        sum += weight;
        for (std::int64_t f = 0; f < d; ++f) row[static_cast<std::size_t>(f)] += weight * v[j * d + f];
      }
      for (std::int64_t f = 0; f < d && sum > 0; ++f)
        out.data<double>()[(x * t + i) * d + f] = row[static_cast<std::size_t>(f)] / sum;
    }
  }
  return out;
}

std::vector<TopologyPtr> moved(const std::vector<TopologyPtr>& patterns, const Var& like) {
  std::vector<TopologyPtr> out;
  for (const TopologyPtr& pattern : patterns) out.push_back(beside(pattern, like));
  return out;
}

OpCase attention_case(const std::vector<TopologyPtr>& patterns, std::int64_t heads, std::int64_t batch,
                      std::int64_t d) {
  const std::int64_t t = patterns[0]->rows();
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  OpCase c;
  c.name =
      "sparse_attention heads " + std::to_string(heads) + " batch " + std::to_string(batch) + " t " + std::to_string(t);
  for (std::uint64_t i = 0; i < 3; ++i) c.inputs.push_back(random_input({heads * batch, t, d}, i + 1));
  c.run = [=](const std::vector<Var>& v) {
    return sparse_attention(v[0], v[1], v[2], moved(patterns, v[0]), heads, scale);
  };
  c.reference = [=](const std::vector<Tensor>& in) { return naive_attention(in, patterns, heads, scale); };
  c.tf32_tolerance = 5e-3;
  c.bf16_roundings = 1;           // f32 between q, k, v and the result
  c.bf16_gradient_roundings = 4;  // runs on probabilities kept in bf16, and the softmax's two terms cancel
  return c;
}

TEST(SparseAttention, AgreesWithItsDefinition) {
  OpCase alone = attention_case({Topology::full(1, 1)}, 1, 1, 1);
  alone.check_gradient = false;  // of a softmax over one entry: 0
  check(alone);
  check(attention_case({awkward_topology(9, 9, 1)}, 2, 1, 4));
  check(attention_case({awkward_topology(11, 11, 2)}, 2, 3, 5));
  check(attention_case({awkward_topology(9, 9, 1), random_topology(9, 9, 0.5, 2), Topology::full(9, 9)}, 3, 2, 4));
  OpCase larger = attention_case({random_topology(70, 70, 0.8, 2)}, 2, 2, 64);
  larger.check_gradient = false;
  check(larger);
}

TEST(SparseAttention, DropoutDropsTheSameInTheGradient) {
  const std::vector<TopologyPtr> patterns{random_topology(8, 8, 0.3, 1), random_topology(8, 8, 0.4, 2)};
  OpCase c = attention_case(patterns, 2, 2, 3);
  const RandomKey key{7, 3};
  c.run = [=](const std::vector<Var>& v) {
    return sparse_attention(v[0], v[1], v[2], moved(patterns, v[0]), 2, 0.5, 0.3, key);
  };
  // The reference is the op on f64 tensors: that the tape's form and each backend drop alike, and that the gradient is
  // the derivative of that very dropping, is what this case adds.
  c.reference = [=](const std::vector<Tensor>& in) {
    return sparse_attention(in[0], in[1], in[2], patterns, 2, 0.5, 0.3, key);
  };
  check(c);
  const Tensor with = c.reference(c.inputs);
  const Tensor without = sparse_attention(c.inputs[0], c.inputs[1], c.inputs[2], patterns, 2, 0.5);
  EXPECT_GT(relative_error(with, without), 0.05);
  const Tensor other_key =
      sparse_attention(c.inputs[0], c.inputs[1], c.inputs[2], patterns, 2, 0.5, 0.3, RandomKey{7, 4});
  EXPECT_GT(relative_error(with, other_key), 0.05);
}

TEST(SparseAttention, HeadsDropApart) {
  // With v = 1 and dropout, the output is the sum of what was kept: equal heads would show as equal halves.
  const std::vector<TopologyPtr> patterns{Topology::full(16, 16), Topology::full(16, 16)};
  const Tensor zero = Tensor::zeros({2, 16, 1}, DType::f64), one = Tensor::full({2, 16, 1}, 1, DType::f64);
  const Tensor out = sparse_attention(zero, zero, one, patterns, 2, 1, 0.5, RandomKey{1, 1});
  EXPECT_GT(relative_error(out.slice(0, 1), out.slice(1, 2)), 0.05);
}

TEST(SparseAttention, KeepsNothingQuadratic) {
  const std::int64_t t = 400;
  const TopologyPtr pattern = random_topology(t, t, 0.95, 1);
  const Var q(random_input({2, t, 8}, 1).to(DType::f32), true), k(random_input({2, t, 8}, 2).to(DType::f32), true);
  const Var v(random_input({2, t, 8}, 3).to(DType::f32), true);
  reset_peak_memory(kCpu);
  const std::size_t before = memory_stats(kCpu).live_bytes;
  const Var out = sparse_attention(q, k, v, {pattern}, 2, 0.3);
  backward(out, Tensor::full({2, t, 8}, 1, DType::f32));
  EXPECT_LT(memory_stats(kCpu).peak_bytes - before, static_cast<std::size_t>(2 * t * t * 4));
}

/// Every key up to the query.
TopologyPtr earlier_keys(std::int64_t t) {
  std::vector<std::int32_t> offsets{0}, columns;
  for (std::int32_t i = 0; i < t; ++i) {
    for (std::int32_t j = 0; j <= i; ++j) columns.push_back(j);
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
  const auto entries = static_cast<std::int64_t>(columns.size());
  return std::make_shared<const Topology>(t, t, Tensor::from(offsets, {t + 1}), Tensor::from(columns, {entries}));
}

OpCase causal_case(std::int64_t t, std::int64_t heads, std::int64_t batch, std::int64_t d) {
  OpCase c = attention_case({earlier_keys(t)}, heads, batch, d);
  c.name = "causal_" + c.name + " d " + std::to_string(d);
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  c.run = [=](const std::vector<Var>& v) { return causal_attention(v[0], v[1], v[2], heads, scale); };
  return c;
}

TEST(CausalAttention, AgreesWithItsDefinition) {
  OpCase alone = causal_case(1, 1, 1, 1);
  alone.check_gradient = false;  // of a softmax over one entry: 0
  check(alone);
  check(causal_case(9, 2, 3, 5));  // d that no fused kernel takes
  for (const std::int64_t d : {32, 64, 128}) {
    for (const std::int64_t t : {17, 200}) {  // past a panel, past a window
      OpCase c = causal_case(t, 2, 2, d);
      c.check_gradient = t < 100 && d == 32;
      check(c);
    }
  }
}

TEST(CausalAttention, DropsAsItsPatternDoes) {
  const RandomKey key{7, 3};
  for (const std::int64_t d : {3, 64}) {
    OpCase c = causal_case(20, 2, 2, d);
    c.run = [=](const std::vector<Var>& v) { return causal_attention(v[0], v[1], v[2], 2, 0.2, 0.3, key); };
    c.reference = [=](const std::vector<Tensor>& in) {
      return sparse_attention(in[0], in[1], in[2], {earlier_keys(20)}, 2, 0.2, 0.3, key);
    };
    c.check_gradient = d == 3;
    check(c);
  }
}

TEST(CausalAttention, TakesEmptyInputsAndRefusesWhatDoesNotFit) {
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32); };
  EXPECT_EQ(causal_attention(zeros({2, 0, 4}), zeros({2, 0, 4}), zeros({2, 0, 4}), 2, 1).numel(), 0);
  const Tensor x = zeros({4, 3, 2});
  EXPECT_THROW(causal_attention(x, x, zeros({4, 3, 3}), 2, 1), ShapeError);
  EXPECT_THROW(causal_attention(x, x, x, 3, 1), ShapeError);
  EXPECT_THROW(causal_attention(x, x, x, 2, 1, 1.0), ValueError);
  const Tensor narrow = zeros({1, 70000, 1});
  EXPECT_THROW(causal_attention(narrow, narrow, narrow, 1, 1), IndexError);  // 2.45e9 entries
}

TEST(SparseAttention, TakesEmptyInputsAndRefusesWhatDoesNotFit) {
  const auto zeros = [](const Shape& shape) { return Tensor::zeros(shape, DType::f32); };
  EXPECT_EQ(
      sparse_attention(zeros({2, 0, 4}), zeros({2, 0, 4}), zeros({2, 0, 4}), {Topology::full(0, 0)}, 2, 1).numel(), 0);
  const Tensor x = zeros({4, 3, 2});
  const TopologyPtr pattern = Topology::full(3, 3);
  EXPECT_THROW(sparse_attention(x, x, zeros({4, 3, 3}), {pattern}, 2, 1), ShapeError);
  EXPECT_THROW(sparse_attention(x, x, x, {pattern}, 3, 1), ShapeError);
  EXPECT_THROW(sparse_attention(x, x, x, {Topology::full(3, 4)}, 2, 1), ShapeError);
  EXPECT_THROW(sparse_attention(x, x, x, {pattern, pattern, pattern}, 2, 1), ValueError);
  EXPECT_THROW(sparse_attention(x, x, x, {}, 2, 1), ValueError);
  EXPECT_THROW(sparse_attention(x, x, x, {nullptr}, 2, 1), ValueError);
  EXPECT_THROW(sparse_attention(x, x, x, {pattern}, 2, 1, 1.0), ValueError);
}

}  // namespace
}  // namespace lacuna
