// The fused residual stream against the separate ops it stands for.
#include <gtest/gtest.h>

#include <cstring>

#include "core/errors.h"
#include "models/transformer.h"
#include "tests/layers/module_check.h"

namespace lacuna {
namespace {

TransformerConfig small_config() {
  TransformerConfig c;
  c.vocabulary = 7;
  c.sequence_length = 10;
  c.layers = 2;
  c.hidden = 16;
  c.filter = 24;
  c.heads = 2;
  c.dropout = {.attention = 0.1, .residual = 0.3, .activation = 0.2};
  return c;
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.nbytes()) == 0;
}

struct Outcome {
  Tensor output;
  std::vector<Tensor> gradients;  // the input's, then the parameters'
};

/// Two blocks over x with their gradients, additions left pending or not.
Outcome run_blocks(bool fused, bool training, DType dtype) {
  RandomStream init_random(11), random(12);
  std::vector<std::unique_ptr<TransformerBlock>> blocks;
  for (int i = 0; i < 2; ++i)
    blocks.push_back(std::make_unique<TransformerBlock>(small_config(), nullptr, Init{init_random, dtype}));
  ForwardContext context{.training = training, .random = &random};
  const Var x(random_f64({16, 30}, 1).to(dtype), training);
  Residual stream{x};
  for (const auto& block : blocks) {
    stream = fused ? block->advance(std::move(stream), context) : Residual{block->forward(stream.stream, context)};
  }
  const Var y = settle(stream);
  Outcome outcome{y.data(), {}};
  if (!training) return outcome;
  backward(y, random_f64({16, 30}, 2).to(dtype));
  outcome.gradients.push_back(x.grad());
  for (const auto& block : blocks) {
    for (const Parameter* p : block->parameters()) outcome.gradients.push_back(p->grad());
  }
  return outcome;
}

TEST(Residual, PendingAdditionsChangeNoBitOnTheCpu) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const bool training : {false, true}) {
      const Outcome fused = run_blocks(true, training, dtype), separate = run_blocks(false, training, dtype);
      EXPECT_TRUE(equal_bits(fused.output, separate.output));
      EXPECT_EQ(fused.gradients.size(), training ? 1u + 2 * 16 : 0u);
      for (std::size_t i = 0; i < fused.gradients.size(); ++i)
        EXPECT_TRUE(equal_bits(fused.gradients[i], separate.gradients[i])) << i;
    }
  }
}

TEST(Residual, RefusesASublayerThatEndsInAnActivation) {
  RandomStream random(1);
  Linear layer(4, 4, {.activation = Activation::relu}, Init{random});
  ForwardContext context;
  EXPECT_THROW(pending_output(layer, Var(Tensor::zeros({4, 2}, DType::f32)), 0.1, context), ValueError);
}

TEST(Residual, NothingPendingIsTheStream) {
  const Var x(Tensor::zeros({4, 2}, DType::f32));
  EXPECT_TRUE(settle({x}).data().shares_storage_with(x.data()));
}

}  // namespace
}  // namespace lacuna
