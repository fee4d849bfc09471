// Random graphs of many ops, in which values are used twice, kept, dropped and moved away: whatever is written in place
// (a gradient, an input nobody else holds) must not be seen by anyone who still reads it.
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "core/ops/activation_dropout.h"
#include "core/ops/batch_norm.h"
#include "core/ops/batch_norm_relu.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/densify.h"
#include "core/ops/dropout.h"
#include "core/ops/heads.h"
#include "core/ops/layer_norm.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/residual_norm.h"
#include "core/ops/sddmm.h"
#include "core/ops/softmax.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/spmm.h"
#include "core/random.h"
#include "core/recompute.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr std::int64_t kRows = 8, kColumns = 6;  // of all matrices in a graph
constexpr int kSteps = 14, kGraphs = 300;

/// What a graph is made of; the leaves in `all` have gradients.
struct Leaves {
  std::vector<Var> all;
  std::vector<Var> matrices;                   // [8, 6]
  Var square, sparse, bias, gain, other_bias;  // [8, 8], [nnz], [8]
  TopologyPtr pattern, attention;

  /// At `point` plus `shift` times its own direction in each leaf.
  explicit Leaves(double shift) : pattern(awkward_topology(kRows, kRows, 5)), attention(random_topology(3, 3, 0.3, 7)) {
    const auto leaf = [&](const Shape& shape, double low, double high) {
      const std::uint64_t seed = 2 * all.size() + 1;
      const Tensor value = random_input(shape, seed, low, high), direction = random_input(shape, seed + 1);
      directions.push_back(direction);
      all.emplace_back(add(value, scale(direction, shift)), true);
      return all.back();
    };
    for (int i = 0; i < 3; ++i) matrices.push_back(leaf({kRows, kColumns}, -1, 1));
    square = leaf({kRows, kRows}, -0.5, 0.5);
    sparse = leaf({pattern->nnz()}, -0.5, 0.5);
    bias = leaf({kRows}, -0.5, 0.5);
    gain = leaf({kRows}, 0.5, 1.5);
    other_bias = leaf({kRows}, -0.5, 0.5);
  }
  std::vector<Tensor> directions;
};

class Graph {
 public:
  Graph(std::uint64_t seed, const Leaves& leaves) : seed_(seed), leaves_(leaves), values_(leaves.matrices) {}

  Var loss() {
    for (int step = 0; step < kSteps; ++step) one_op();
    Var total = sum(mul(values_.back(), values_.back()));
    for (int i = 0; i < 2; ++i) {  // of whatever else is about; a logits matrix that nobody else holds is written over
      const Tensor targets = Tensor::from<std::int32_t>({0, 7, 3, -1, 2, 5}, {kColumns});
      total = add(total, cross_entropy(operand(), targets, i == 0 ? 0.0 : 0.1));
    }
    return total;
  }

 private:
  std::uint32_t draw(std::uint32_t n) { return random_word({seed_, 1}, next_++) % n; }
  RandomKey key() { return {seed_, 1000 + next_++}; }
  double rate() { return draw(2) == 0 ? 0.0 : 0.3; }
  Activation kind() { return std::array{Activation::none, Activation::relu, Activation::gelu}[draw(3)]; }
  Var maybe(const Var& v) { return draw(2) == 0 ? v : Var(); }
  /// One of the values so far, which may be gone from among them afterwards.
  Var operand() {
    const std::size_t i = draw(static_cast<std::uint32_t>(values_.size()));
    if (values_.size() < 3 || draw(2) == 0) return values_[i];
    Var taken = std::move(values_[i]);
    values_.erase(values_.begin() + static_cast<std::ptrdiff_t>(i));
    return taken;
  }
  void put(Var v) { values_.push_back(std::move(v)); }

  void one_op() {
    const Leaves& l = leaves_;
    Var a = operand();
    switch (draw(20)) {
      case 0:
        return put(add(a, operand()));
      case 1:
        return put(sub(operand(), a));
      case 2:
        return put(mul(a, draw(2) == 0 ? a : operand()));
      case 3:
        return put(scale(a, -0.7));
      case 4:
        return put(activation(a, kind()));
      case 5:
        return put(dropout(a, rate(), key()));
      case 6: {
        const Activation k = kind();
        const double p = rate();
        return put(activation_dropout(std::move(a), maybe(l.bias), k, p, key()));
      }
      case 7:
        return put(add_bias(a, l.bias));
      case 8:
      case 9: {
        const double p = rate();
        const ResidualNormVars both =
            residual_norm(a, draw(4) == 0 ? a : operand(), maybe(l.other_bias), l.gain, l.bias, p, key());
        if (draw(3) != 0) put(both.residual);
        return put(both.normalised);
      }
      case 10:
        return put(layer_norm(a, l.gain, l.bias));
      case 11:
      case 12: {
        const Tensor mean = Tensor::zeros({kRows}, DType::f64), var = Tensor::full({kRows}, 1, DType::f64);
        const bool training = draw(3) != 0;
        return put(draw(2) == 0 ? batch_norm(a, l.gain, l.bias, mean, var, training)
                                : batch_norm_relu(a, l.gain, l.bias, mean, var, training));
      }
      case 13:
        return put(scale(matmul(matmul(a, draw(2) == 0 ? a : operand(), false, true), operand()), 0.1));
      case 14:
        return put(linear(l.square, a, maybe(l.bias), kind()));
      case 15:
        return put(spmm({l.sparse, l.pattern}, a, maybe(l.bias), kind()));
      case 16:
        return put(softmax(a, 1.3));
      case 17: {  // 2 heads of 4 features, 2 sequences of 3 tokens
        const Var q = split_heads(a, 2, 2), k = draw(2) == 0 ? q : split_heads(operand(), l.bias, 2, 2);
        return put(
            merge_heads(sparse_attention(q, k, draw(2) == 0 ? k : q, {l.attention}, 2, 0.5, rate(), key()), 2, 2));
      }
      case 18: {  // scores over the pattern, dense again, and back to [8, 6]
        const SparseVar p = sparse_softmax(sddmm(a, operand(), l.pattern, 0.4));
        return put(draw(2) == 0 ? spmm(p, a) : matmul(densify(p), a));
      }
      default: {
        const RandomKey k = key();
        const auto block = [l = leaves_, k](const std::vector<Var>& in, bool) {
          const Var h = dropout(linear(l.square, in[0], l.bias, Activation::relu), 0.3, k);
          return add(mul(h, in[0]), spmm({l.sparse, l.pattern}, in[1]));
        };
        return put(recompute({a, draw(2) == 0 ? a : operand()}, block));
      }
    }
  }

  std::uint64_t seed_;
  std::uint64_t next_ = 0;
  const Leaves& leaves_;
  std::vector<Var> values_;
};

double loss_at(std::uint64_t seed, double shift) {
  const Leaves leaves(shift);
  return Graph(seed, leaves).loss().data().item();
}

TEST(TapeMixture, GradientsOfRandomGraphsAreTheirSlopes) {
  for (std::uint64_t seed = 1; seed <= kGraphs; ++seed) {
    SCOPED_TRACE("graph " + std::to_string(seed));
    const Leaves leaves(0);
    std::vector<std::vector<double>> before;
    for (const Var& leaf : leaves.all) before.push_back(leaf.data().to_vector<double>());
    backward(Graph(seed, leaves).loss());
    double slope = 0, size = 0;
    for (std::size_t i = 0; i < leaves.all.size(); ++i) {
      EXPECT_EQ(leaves.all[i].data().to_vector<double>(), before[i]) << "leaf " << i << " was written over";
      if (!leaves.all[i].grad().defined()) continue;
      const std::vector<double> gradient = leaves.all[i].grad().to_vector<double>();
      const std::vector<double> direction = leaves.directions[i].to_vector<double>();
      for (std::size_t k = 0; k < gradient.size(); ++k) {
        slope += gradient[k] * direction[k];
        size += std::fabs(gradient[k] * direction[k]);
      }
    }
    constexpr double kStep = 1e-6;
    const double difference = (loss_at(seed, kStep) - loss_at(seed, -kStep)) / (2 * kStep);
    ASSERT_GT(size, 0);
    EXPECT_NEAR(slope, difference, 1e-5 * size + 1e-7);
    if (::testing::Test::HasFailure()) return;
  }
}

TEST(TapeMixture, ASecondRunGivesTheSameBits) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    const Leaves first(0), second(0);
    backward(Graph(seed, first).loss());
    poison_free_memory(kCpu, {64, 384, 512});
    backward(Graph(seed, second).loss());
    for (std::size_t i = 0; i < first.all.size(); ++i) {
      ASSERT_EQ(first.all[i].grad().defined(), second.all[i].grad().defined());
      if (first.all[i].grad().defined()) {
        EXPECT_TRUE(equal_bits(first.all[i].grad(), second.all[i].grad())) << seed;
      }
    }
  }
}

}  // namespace
}  // namespace lacuna
