// What the tape holds and for how long: each op keeps what its gradient reads and no more, and backward gives it back as it
// goes. Counted in the allocator's live bytes, in units of one activation.
#include <gtest/gtest.h>

#include <functional>

#include "core/ops/batch_norm.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dropout.h"
#include "core/ops/layer_norm.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"
#include "core/ops/spmm.h"
#include "core/random.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr std::int64_t kSize = 128;
constexpr double kUnit = kSize * kSize * 4;  // bytes of one [kSize, kSize] activation
constexpr double kSmall = 0.2;               // in units: statistics, vectors, scalars

Tensor normal(std::uint64_t sequence, Device device) {
  return random_normal({kSize, kSize}, 0, 0.1, {8, sequence}, DType::f32, device);
}

double live(Device device) { return static_cast<double>(memory_stats(device).live_bytes) / kUnit; }

struct Operands {
  Var weight, frozen, gain, bias;
  SparseVar sparse;
  Tensor running_mean, running_var, targets;
};

Operands operands(Device device) {
  Operands o;
  o.weight = Var(normal(2, device), true);
  o.frozen = Var(normal(3, device));
  o.gain = Var(Tensor::full({kSize}, 1, DType::f32, device), true);
  o.bias = Var(Tensor::zeros({kSize}, DType::f32, device), true);
  const TopologyPtr topology = random_topology(kSize, kSize, 0.9, 4)->to(device);
  o.sparse = {Var(Tensor::full({topology->nnz()}, 0.1, DType::f32, device), true), topology};
  o.running_mean = Tensor::zeros({kSize}, DType::f32, device);
  o.running_var = Tensor::full({kSize}, 1, DType::f32, device);
  o.targets = Tensor::zeros({kSize}, DType::i32, device);
  return o;
}

struct Case {
  const char* name;
  int kept;  // activations beside the output
  std::function<Var(const Var&, const Operands&)> op;
};

std::vector<Case> cases() {
  return {
      {"add", 0, [](const Var& h, const Operands& o) { return add(h, o.weight); }},
      {"scale", 0, [](const Var& h, const Operands&) { return scale(h, 3); }},
      {"relu", 0, [](const Var& h, const Operands&) { return relu(h); }},
      {"gelu", 1, [](const Var& h, const Operands&) { return gelu(h); }},
      {"dropout", 0, [](const Var& h, const Operands&) { return dropout(h, 0.5, {1, 1}); }},
      {"softmax", 0, [](const Var& h, const Operands&) { return softmax(h, 1, false); }},
      {"layer_norm", 1, [](const Var& h, const Operands& o) { return layer_norm(h, o.gain, o.bias, 1e-5); }},
      {"batch_norm", 1,
       [](const Var& h, const Operands& o) {
         return batch_norm(h, o.gain, o.bias, o.running_mean, o.running_var, true, 0.1, 1e-5);
       }},
      {"matmul", 1, [](const Var& h, const Operands& o) { return matmul(o.weight, h); }},
      {"matmul by a frozen weight", 0, [](const Var& h, const Operands& o) { return matmul(o.frozen, h); }},
      {"linear", 1, [](const Var& h, const Operands& o) { return linear(o.weight, h, o.bias, Activation::relu); }},
      {"linear with gelu", 2, [](const Var& h, const Operands& o) { return linear(o.weight, h, o.bias, Activation::gelu); }},
      {"frozen linear", 0, [](const Var& h, const Operands& o) { return linear(o.frozen, h, {}, Activation::relu); }},
      {"spmm", 1, [](const Var& h, const Operands& o) { return spmm(o.sparse, h, o.bias, Activation::relu); }},
      {"frozen spmm", 0,
       [](const Var& h, const Operands& o) { return spmm({o.sparse.values.detach(), o.sparse.topology}, h); }},
      {"cross_entropy", 1, [](const Var& h, const Operands& o) { return cross_entropy(h, o.targets, 0.1); }},
  };
}

TEST(TapeMemory, AnOpKeepsWhatItsGradientReads) {
  for (const Device device : devices()) {
    const Operands o = operands(device);
    const Var x(normal(1, device), true);
    for (const Case& c : cases()) {
      backward(mean(c.op(scale(x, 2), o)));  // what is made once: patterns' transposes, gradients
      const double before = live(device);
      const Var y = c.op(scale(x, 2), o);
      const double output = static_cast<double>(y.data().nbytes()) / kUnit;
      EXPECT_NEAR(live(device) - before - output, c.kept, kSmall) << c.name << " on " << to_string(device);
    }
  }
}

/// Most units that backward adds to what is live before it.
double backward_adds(const Var& loss, Device device) {
  reset_peak_memory(device);
  const double before = live(device);
  backward(loss);
  return static_cast<double>(memory_stats(device).peak_bytes) / kUnit - before;
}

TEST(TapeMemory, BackwardGoesInPlaceAndGivesBackAsItGoes) {
  for (const Device device : devices()) {
    const Operands o = operands(device);
    const Var x(normal(1, device), true);
    const auto chain = [&](const std::function<Var(const Var&)>& op) {
      for (const Var& leaf : {x, o.weight, o.gain, o.bias}) leaf.clear_grad();
      Var y = x;
      for (int i = 0; i < 8; ++i) y = op(y);
      return mean(y);
    };
    EXPECT_LT(backward_adds(chain([](const Var& h) { return dropout(h, 0.5, {1, 1}); }), device), 1 + kSmall);
    EXPECT_LT(backward_adds(chain([](const Var& h) { return gelu(h); }), device), 1 + kSmall);
    EXPECT_LT(backward_adds(chain([](const Var& h) { return softmax(h, 1, false); }), device), 1 + kSmall);
    EXPECT_LT(backward_adds(chain([&](const Var& h) {
                return relu(batch_norm(h, o.gain, o.bias, o.running_mean, o.running_var, true, 0.1, 1e-5));
              }), device),
              1 + kSmall);
    // The weight's gradient twice (the sum and what is added to it), the incoming gradient, and for the first product,
    // whose input is the caller's, one for x.
    EXPECT_LT(backward_adds(chain([&](const Var& h) { return matmul(o.weight, h); }), device), 3 + kSmall);
    EXPECT_LT(backward_adds(chain([&](const Var& h) { return linear(o.weight, h, o.bias, Activation::relu); }), device),
              3 + kSmall);
  }
}

TEST(TapeMemory, WhatSomebodyElseHoldsIsNotWrittenOver) {
  for (const Device device : devices()) {
    const Operands o = operands(device);
    const Var x(normal(1, device), true);
    const Var logits = scale(x, 2), hidden = relu(x);
    const std::vector<float> before = logits.data().to_vector<float>(), seen = hidden.data().to_vector<float>();
    backward(cross_entropy(logits, o.targets));
    EXPECT_EQ(logits.data().to_vector<float>(), before);
    const Tensor seed = normal(9, device);
    const std::vector<float> given = seed.to_vector<float>();
    backward(dropout(gelu(hidden), 0.3, {2, 2}), seed);
    EXPECT_EQ(seed.to_vector<float>(), given) << "the caller's seed";
    EXPECT_EQ(hidden.data().to_vector<float>(), seen);
    // One gradient for two inputs: each must see it whole.
    const Var a(normal(5, device), true), b(normal(6, device), true);
    backward(mean(add(gelu(a), scale(b, 1))));
    for (const float g : b.grad().to_vector<float>()) EXPECT_EQ(g, 1.0f / (kSize * kSize));
  }
}

}  // namespace
}  // namespace lacuna
