// recompute(): the gradients of the plain tape bit for bit, from a tape that keeps only the inputs.
#include "core/recompute.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/random.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

constexpr std::int64_t kWidth = 24, kColumns = 40;

Tensor normal(const Shape& shape, std::uint64_t sequence, Device device) {
  return random_normal(shape, 0, 0.3, {5, sequence}, DType::f32, device);
}

struct Result {
  Tensor loss;
  std::vector<Tensor> gradients;  // of the input, then the weights
};

/// A chain of `blocks`, each x + dropout(relu(w x)) with two products by the same weight, then sum of squares.
Result run(Device device, bool recomputed, int blocks, bool shared_weight, bool input_wants) {
  const Var x(normal({kWidth, kColumns}, 1, device), input_wants);
  std::vector<Var> weights;
  for (int i = 0; i < (shared_weight ? 1 : blocks); ++i)
    weights.emplace_back(normal({kWidth, kWidth}, 10 + static_cast<std::uint64_t>(i), device), true);
  Var y = x;
  for (int i = 0; i < blocks; ++i) {
    const Var w = weights[shared_weight ? 0 : static_cast<std::size_t>(i)];
    const RandomKey key{9, static_cast<std::uint64_t>(i)};
    const RecomputedFunction block = [w, key](const std::vector<Var>& in, bool) {
      const Var hidden = dropout(relu(matmul(w, in[0])), 0.4, key);
      return add(in[0], matmul(w, hidden));
    };
    y = recomputed ? recompute({y}, block) : block({y}, false);
  }
  const Var loss = mean(mul(y, y));
  backward(loss);
  Result result{loss.data(), {}};
  if (input_wants) result.gradients.push_back(x.grad());
  for (const Var& w : weights) result.gradients.push_back(w.grad());
  return result;
}

TEST(Recompute, GradientsAreThoseOfThePlainTapeBitForBit) {
  for (const Device device : devices())
    for (const bool shared : {false, true})
      for (const bool input_wants : {false, true}) {
        const Result plain = run(device, false, 3, shared, input_wants),
                     again = run(device, true, 3, shared, input_wants);
        EXPECT_TRUE(equal_bits(plain.loss, again.loss));
        ASSERT_EQ(plain.gradients.size(), again.gradients.size());
        for (std::size_t i = 0; i < plain.gradients.size(); ++i) {
          ASSERT_TRUE(again.gradients[i].defined()) << i;
          EXPECT_GT(nonzero_fraction(again.gradients[i]), 0.5);
          EXPECT_TRUE(equal_bits(plain.gradients[i], again.gradients[i])) << "gradient " << i << ", shared " << shared;
        }
      }
}

TEST(Recompute, KeepsTheInputsAlone) {
  for (const Device device : devices()) {
    const Var x(normal({256, 256}, 1, device), true);
    const std::size_t before = memory_stats(device).live_bytes, one = x.data().nbytes();
    const auto block = [](const std::vector<Var>& in, bool) {
      Var y = in[0];
      for (int i = 0; i < 6; ++i) y = gelu(y);  // keeps its input each time
      return y;
    };
    const Var plain = block({x}, false);
    EXPECT_EQ(memory_stats(device).live_bytes - before, 6 * one);
    const Var again = recompute({x}, block);
    EXPECT_EQ(memory_stats(device).live_bytes - before, 7 * one) << "the output alone";
    backward(mean(again));
    EXPECT_TRUE(x.grad().defined());
  }
}

TEST(Recompute, FallsWithTheNumberOfBlocks) {
  for (const Device device : devices()) {
    const auto peak = [&](bool recomputed) {
      reset_peak_memory(device);
      const std::size_t before = memory_stats(device).live_bytes;
      run(device, recomputed, 12, true, true);
      return memory_stats(device).peak_bytes - before;
    };
    EXPECT_LT(static_cast<double>(peak(true)), 0.65 * static_cast<double>(peak(false)));
  }
}

TEST(Recompute, NothingIsKeptWhereNothingWantsAGradient) {
  int calls = 0;
  const Var x(normal({4, 4}, 1, kCpu));
  const Var y = recompute({x, Var()}, [&](const std::vector<Var>& in, bool again) {
    ++calls;
    EXPECT_FALSE(again);
    EXPECT_FALSE(in[1].defined());
    return relu(in[0]);
  });
  EXPECT_FALSE(y.requires_grad());
  EXPECT_EQ(calls, 1);
}

TEST(Recompute, SideEffectsKnowWhichRunTheyAreIn) {
  std::vector<bool> runs;
  const Var x(normal({4, 4}, 1, kCpu), true);
  backward(mean(recompute({x}, [&](const std::vector<Var>& in, bool again) {
    runs.push_back(again);
    return scale(in[0], 2);
  })));
  EXPECT_EQ(runs, (std::vector<bool>{false, true}));
}

TEST(Recompute, Nests) {
  const auto inner = [](const std::vector<Var>& in, bool) { return mul(gelu(in[0]), gelu(in[1])); };
  const auto outer = [&](bool recomputed) {
    return [inner, recomputed](const std::vector<Var>& in, bool) {
      const Var y = gelu(in[0]);
      return recomputed ? recompute({y, in[1]}, inner) : inner({y, in[1]}, false);
    };
  };
  std::vector<Tensor> gradients;
  for (const bool recomputed : {false, true}) {
    const Var a(normal({8, 8}, 1, kCpu), true), b(normal({8, 8}, 2, kCpu), true);
    backward(mean(recomputed ? recompute({a, b}, outer(true)) : outer(false)({a, b}, false)));
    gradients.push_back(a.grad());
    gradients.push_back(b.grad());
  }
  EXPECT_TRUE(equal_bits(gradients[0], gradients[2]));
  EXPECT_TRUE(equal_bits(gradients[1], gradients[3]));
}

TEST(Recompute, APairWorksWhicheverResultIsUsed) {
  // A stream that passes through untouched, and a product beside it: the first wants a gradient only where x does.
  const auto run_pair = [](bool recomputed, bool x_wants, bool use_first, bool use_second) {
    const Var x(normal({8, 8}, 1, kCpu), x_wants), w(normal({8, 8}, 2, kCpu), true), v(normal({8, 8}, 3, kCpu), true);
    const RecomputedPair block = [w](const std::vector<Var>& in, bool) -> VarPair {
      return {in[0], relu(matmul(w, in[0]))};
    };
    const VarPair out = recomputed ? recompute_pair({x}, block) : block({x}, false);
    Var loss = mean(mul(v, v));
    if (use_first) loss = add(loss, mean(mul(out.first, out.first)));
    if (use_second) loss = add(loss, mean(mul(out.second, v)));
    backward(loss);
    return std::vector<Tensor>{x.grad(), w.grad(), v.grad()};
  };
  for (const int bits : {0, 1, 2, 3, 4, 5, 6, 7}) {
    const bool x_wants = bits & 1, first = bits & 2, second = bits & 4;
    const auto plain = run_pair(false, x_wants, first, second), again = run_pair(true, x_wants, first, second);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      ASSERT_EQ(plain[i].defined(), again[i].defined()) << "case " << bits << ", gradient " << i;
      if (plain[i].defined()) {
        EXPECT_LT(relative_error(again[i], plain[i]), 1e-6) << "case " << bits << ", " << i;
      }
    }
  }
}

TEST(Recompute, AThrowInTheSecondRunIsHandedOnAndNothingLeaks) {
  const std::size_t before = memory_stats(kCpu).live_bytes;
  {
    const Var x(normal({64, 64}, 1, kCpu), true), w(normal({64, 64}, 2, kCpu), true);
    const Var loss = mean(recompute({x}, [w](const std::vector<Var>& in, bool again) {
      const Var y = matmul(w, in[0]);
      if (again) throw ValueError("test", "thrown on purpose");
      return relu(y);
    }));
    EXPECT_THROW(backward(loss), ValueError);
    EXPECT_FALSE(w.grad().defined());
    EXPECT_THROW(backward(loss), ValueError) << "the tape's later part is used up";
  }
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before);
  {
    const Var x(normal({4, 4}, 1, kCpu), true);
    const auto refuse = [](const std::vector<Var>&, bool) -> Var { throw ValueError("test", "in the first run"); };
    EXPECT_THROW(recompute({x}, refuse), ValueError);
  }
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before);
}

TEST(Recompute, ATapeBehindItsBackIsRefusedOrRight) {
  const Var x(normal({4, 4}, 1, kCpu), true);
  const Var hidden = gelu(x);  // on the tape, and not among the inputs
  const Var y = recompute({x}, [hidden](const std::vector<Var>& in, bool) { return mul(in[0], hidden); });
  EXPECT_THROW(backward(mean(add(y, hidden))), ValueError) << "hidden is needed twice, and its tape is used up";
}

}  // namespace
}  // namespace lacuna
