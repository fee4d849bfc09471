// Each layer: gradients in f64, dense and sparse weights, errors, plans.
#include <algorithm>

#include "core/errors.h"
#include "layers/attention.h"
#include "layers/conv.h"
#include "layers/dropout.h"
#include "layers/embedding.h"
#include "layers/feed_forward.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "layers/module_list.h"
#include "layers/norm.h"
#include "tests/layers/module_check.h"

namespace lacuna {
namespace {

struct Layers : ::testing::Test {
  RandomStream random{1};
  Init init{random, DType::f64};
};

std::vector<std::string> names(Module& module) {
  std::vector<std::string> result;
  for (const Parameter* p : module.parameters()) result.push_back(p->name());
  return result;
}

TEST_F(Layers, LinearGradients) {
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    Linear layer(5, 7, {.activation = activation}, init);
    roughen(layer);
    check_dense_sparse(layer, random_f64({5, 6}, 1));
  }
  Linear bare(5, 7, {.bias = false}, init);
  EXPECT_EQ(names(bare), std::vector<std::string>{"weight"});
  check_dense_sparse(bare, random_f64({5, 6}, 1));
}

TEST_F(Layers, LinearAgainstLoops) {
  Linear layer(3, 4, {.activation = Activation::relu}, init);
  roughen(layer);
  const auto w = layer.parameters()[0]->value().to_vector<double>();
  const auto b = layer.parameters()[1]->value().to_vector<double>();
  const Tensor x = random_f64({3, 5}, 2);
  std::vector<double> expected;
  for (std::size_t i = 0; i < 4; ++i) {
    for (std::size_t j = 0; j < 5; ++j) {
      double sum = b[i];
      for (std::size_t k = 0; k < 3; ++k) sum += w[i * 3 + k] * x.data<double>()[k * 5 + j];
      expected.push_back(std::max(sum, 0.0));
    }
  }
  expect_near(evaluate(layer, x), expected, 1e-14);
}

TEST_F(Layers, LinearFlagsPlanAndErrors) {
  Linear layer(6, 4, {}, init);
  EXPECT_TRUE(layer.weight().prunable);
  EXPECT_TRUE(layer.weight().decay);
  EXPECT_FALSE(layer.parameters()[1]->decay);
  std::vector<LayerPlan> lines;
  EXPECT_TRUE((layer.plan({6, 10}, "a.b", lines) == Shape{4, 10}));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].name, "a.b");
  EXPECT_EQ(lines[0].weight, "a.b.weight");
  EXPECT_EQ(lines[0].columns, 10);
  EXPECT_EQ(lines[0].flops, 2.0 * 6 * 4 * 10);
  EXPECT_EQ(lines[0].activation_bytes, 4.0 * 4 * 10);
  EXPECT_THROW(layer.plan({5, 10}, "", lines), ShapeError);
  ForwardContext context;
  EXPECT_THROW(layer.forward(Var(random_f64({5, 2}, 1)), context), ShapeError);
  EXPECT_THROW(Linear(0, 4, {}, init), ValueError);
}

TEST_F(Layers, NormGradients) {
  LayerNorm layer_norm(6, init);
  roughen(layer_norm);
  check_gradients(layer_norm, random_f64({6, 5}, 3));
  for (const bool relu : {false, true}) {
    BatchNorm batch_norm(4, {.relu = relu}, init);
    roughen(batch_norm);
    check_gradients(batch_norm, random_f64({4, 9}, 3));
  }
}

TEST_F(Layers, BatchNormBuffers) {
  BatchNorm layer(2, {}, init);
  const std::vector<NamedBuffer> buffers = layer.buffers();
  ASSERT_EQ(buffers.size(), 2u);
  EXPECT_EQ(buffers[0].name, "running_mean");
  EXPECT_EQ(buffers[1].name, "running_var");
  const Tensor x = Tensor::from<double>({1, 2, 3, 10, 10, 16}, {2, 3});
  ForwardContext context{.training = true};
  layer.forward(Var(x), context);
  const auto mean = buffers[0].tensor->to_vector<double>();
  const auto var = buffers[1].tensor->to_vector<double>();
  EXPECT_NEAR(mean[0], 0.2, 1e-12);
  EXPECT_NEAR(mean[1], 1.2, 1e-12);
  EXPECT_NEAR(var[0], 0.9 + 0.1 * 1.0, 1e-12);  // unbiased variance 1
  EXPECT_NEAR(var[1], 0.9 + 0.1 * 12.0, 1e-12);
  const std::vector<double> first = evaluate(layer, x);
  EXPECT_NEAR(first[0], (1 - 0.2) / std::sqrt(1.0 + 1e-5), 1e-12);
  expect_near(evaluate(layer, x), first, 0);  // evaluation leaves the statistics alone
}

TEST_F(Layers, EmbeddingGradients) {
  const Tensor tokens = Tensor::from<std::int32_t>({0, 3, 3, 1, 4, 0, 2, 2}, {8});
  for (const Positions positions : {Positions::learned, Positions::sinusoidal}) {
    TokenEmbedding layer({.vocabulary = 5, .sequence_length = 4, .features = 6, .positions = positions}, init);
    check_gradients(layer, tokens, {.most = 30, .input = false});
    for (const Parameter* p : layer.parameters()) {
      EXPECT_FALSE(p->prunable);
      EXPECT_FALSE(p->decay);
    }
    EXPECT_EQ(layer.parameters().size(), positions == Positions::learned ? 2u : 1u);
  }
}

TEST_F(Layers, EmbeddingAddsPositions) {
  TokenEmbedding layer({.vocabulary = 3, .sequence_length = 2, .features = 2}, init);
  const auto tokens = layer.parameters()[0]->value().to_vector<double>();
  const auto positions = layer.parameters()[1]->value().to_vector<double>();
  const auto y = evaluate(layer, Tensor::from<std::int32_t>({2, 1, 0, 1}, {4}));
  EXPECT_NEAR(y[0], tokens[4] + positions[0], 1e-15);      // feature 0 of column 0
  EXPECT_NEAR(y[1], tokens[2] + positions[2], 1e-15);      // feature 0 of column 1
  EXPECT_NEAR(y[4 + 2], tokens[1] + positions[1], 1e-15);  // feature 1 of column 2: position 0 of sequence 1
  // Another batch size afterwards.
  EXPECT_EQ(evaluate(layer, Tensor::from<std::int32_t>({2, 1}, {2})).size(), 4u);
  ForwardContext context;
  EXPECT_THROW(layer.forward(Var(Tensor::from<std::int32_t>({2, 1, 0}, {3})), context), ShapeError);
  EXPECT_THROW(layer.forward(Var(Tensor::from<std::int32_t>({2, 3}, {2})), context), IndexError);
}

TEST_F(Layers, EmbeddingKeepsThePositionsThatACapturedStepMayRead) {
  TokenEmbedding layer({.vocabulary = 3, .sequence_length = 37, .features = 2}, init);
  const auto blocks_of = [](std::size_t bytes) {
    const std::vector<std::size_t> live = live_blocks(kCpu);
    return std::count(live.begin(), live.end(), bytes);
  };
  constexpr std::size_t kBytes = 2 * 37 * sizeof(std::int32_t);
  const auto before = blocks_of(kBytes);
  for (const std::int64_t batch : {2, 3, 1, 9, 2}) {  // as training, evaluation and its short last batch
    const auto y = evaluate(layer, Tensor::zeros({batch * 37}, DType::i32));
    EXPECT_EQ(y.size(), static_cast<std::size_t>(2 * batch * 37));
    EXPECT_EQ(y[0], y[static_cast<std::size_t>(batch - 1) * 37]) << "position 0 of the first and the last sequence";
    EXPECT_EQ(blocks_of(kBytes) - before, 1) << "after a batch of " << batch;
  }
}

TEST_F(Layers, Sinusoids) {
  const auto table = sinusoidal_positions(3, 4, DType::f64).to_vector<double>();
  EXPECT_NEAR(table[0], 0, 1e-15);
  EXPECT_NEAR(table[1], 1, 1e-15);
  EXPECT_NEAR(table[8], std::sin(2.0), 1e-15);
  EXPECT_NEAR(table[11], std::cos(2.0 / 100.0), 1e-15);
}

TEST_F(Layers, DropoutOnlyWhenTraining) {
  Dropout layer(0.5);
  const Tensor x = Tensor::full({10, 100}, 1.0, DType::f64);
  expect_near(evaluate(layer, x), x.to_vector<double>(), 0);
  RandomStream stream(3);
  ForwardContext context{.training = true, .random = &stream};
  const auto y = layer.forward(Var(x), context).data().to_vector<double>();
  const auto kept = std::count(y.begin(), y.end(), 2.0);
  EXPECT_EQ(kept + std::count(y.begin(), y.end(), 0.0), 1000);
  EXPECT_NEAR(static_cast<double>(kept), 500, 80);
  ForwardContext without{.training = true};
  EXPECT_THROW(layer.forward(Var(x), without), ValueError);
  EXPECT_THROW(Dropout(1.0), ValueError);
}

TEST_F(Layers, ConvGradients) {
  Conv2d conv(3, 4, {5, 6}, {.spec = {.kernel = 3, .stride = 2, .padding = 1}, .bias = true, .prunable = true}, init);
  roughen(conv);
  EXPECT_EQ(conv.output().height, 3);
  EXPECT_EQ(conv.output().width, 3);
  check_dense_sparse(conv, random_f64({3, 2 * 30}, 4));
  PointwiseConv pointwise(4, 5, {.bias = true, .activation = Activation::relu}, init);
  roughen(pointwise);
  check_dense_sparse(pointwise, random_f64({4, 12}, 5));
  DepthwiseConv depthwise(3, {5, 6}, {.kernel = 3, .stride = 2, .padding = 1}, init);
  check_gradients(depthwise, random_f64({3, 2 * 30}, 6));
}

TEST_F(Layers, ConvPlansAndErrors) {
  Conv2d conv(3, 8, {10, 10}, {.spec = {.kernel = 3, .stride = 2, .padding = 1}}, init);
  DepthwiseConv depthwise(8, {5, 5}, {}, init);
  std::vector<LayerPlan> lines;
  const Shape middle = conv.plan({3, 2 * 100}, "stem", lines);
  EXPECT_TRUE((middle == Shape{8, 2 * 25}));
  EXPECT_EQ(lines[0].flops, 2.0 * 3 * 9 * 8 * 50);
  depthwise.plan(middle, "d", lines);
  EXPECT_EQ(lines[1].flops, 2.0 * 9 * 8 * 50);
  EXPECT_EQ(lines[1].kind, "depthwise_conv");
  EXPECT_THROW(conv.plan({3, 150}, "", lines), ShapeError);
  EXPECT_THROW(conv.plan({4, 100}, "", lines), ShapeError);
  EXPECT_THROW(DepthwiseConv(8, {1, 1}, {.kernel = 5, .stride = 1, .padding = 0}, init), ShapeError);
  EXPECT_FALSE(depthwise.parameters()[0]->prunable);
}

TEST_F(Layers, FeedForwardGradients) {
  for (const Activation activation : {Activation::relu, Activation::gelu}) {
    FeedForward layer({.features = 4, .filter = 9, .activation = activation, .dropout = 0.3}, init);
    roughen(layer);
    EXPECT_EQ(names(layer),
              (std::vector<std::string>{"expand.weight", "expand.bias", "contract.weight", "contract.bias"}));
    check_dense_sparse(layer, random_f64({4, 6}, 7));
  }
}

TEST_F(Layers, DenseAttentionGradients) {
  SelfAttention layer({.features = 6, .heads = 2, .sequence_length = 5, .dropout = 0.2}, init);
  roughen(layer);
  check_dense_sparse(layer, random_f64({6, 10}, 8));
}

TEST_F(Layers, SparseAttentionGradients) {
  const auto shared = std::make_shared<AttentionPatterns>(std::vector{strided(6, 3, 2)});
  const auto own =
      std::make_shared<AttentionPatterns>(std::vector{band_and_random(6, 2, 0.5, {1, 1}), causal_band(6, 3)});
  for (const AttentionPatternsPtr& patterns : {shared, own}) {
    SelfAttention layer({.features = 8, .heads = 2, .sequence_length = 6, .dropout = 0.2, .patterns = patterns}, init);
    roughen(layer);
    check_dense_sparse(layer, random_f64({8, 12}, 9));
  }
}

TEST_F(Layers, SparseAttentionOnEveryPairIsDense) {
  const AttentionOptions dense{.features = 8, .heads = 2, .sequence_length = 7};
  AttentionOptions sparse = dense;
  sparse.patterns = std::make_shared<AttentionPatterns>(std::vector{full_causal(7)});
  RandomStream first(2), second(2);
  SelfAttention a(dense, Init{first, DType::f64});
  SelfAttention b(sparse, Init{second, DType::f64});
  AttentionOptions fused = dense;
  fused.dense = DenseAttention::fused;
  RandomStream third(2);
  SelfAttention c(fused, Init{third, DType::f64});
  const Tensor x = random_f64({8, 21}, 10);
  expect_near(evaluate(b, x), evaluate(a, x), 1e-12);
  expect_near(evaluate(c, x), evaluate(a, x), 1e-12);
}

TEST_F(Layers, AttentionIsCausalAndKeepsSequencesApart) {
  SelfAttention layer({.features = 4, .heads = 1, .sequence_length = 4}, init);
  const Tensor x = random_f64({4, 8}, 11);
  const std::vector<double> before = evaluate(layer, x);
  for (std::int64_t f = 0; f < 4; ++f) x.data<double>()[f * 8 + 2] += 1;  // token 2 of sequence 0
  const std::vector<double> after = evaluate(layer, x);
  for (std::size_t f = 0; f < 4; ++f) {
    for (std::size_t j = 0; j < 8; ++j) {
      const bool sees = j == 2 || j == 3;
      EXPECT_EQ(before[f * 8 + j] != after[f * 8 + j], sees) << "feature " << f << ", column " << j;
    }
  }
}

TEST_F(Layers, AttentionPlanAndErrors) {
  AttentionOptions options{.features = 8, .heads = 2, .sequence_length = 6};
  SelfAttention dense(options, init);
  options.patterns = std::make_shared<AttentionPatterns>(std::vector{causal_band(6, 2)});  // 11 entries
  SelfAttention sparse(options, init);
  std::vector<LayerPlan> d, s;
  dense.plan({8, 18}, "a", d);
  sparse.plan({8, 18}, "a", s);
  ASSERT_EQ(d.size(), 5u);
  EXPECT_EQ(d[3].flops, 2.0 * 2 * 3 * 2 * 36 * 4);  // two products, batch 3, 2 heads, 36 pairs, 4 wide
  EXPECT_EQ(s[3].dense_flops, d[3].flops);
  EXPECT_EQ(s[3].flops, 2.0 * 2 * 3 * 2 * 11 * 4);
  EXPECT_EQ(d[3].activation_bytes, 4.0 * 3 * (2 * 36 + 6 * 8));
  EXPECT_EQ(s[3].activation_bytes, 4.0 * 3 * (2 * 11 + 6 * 8));
  EXPECT_EQ(s[4].weight, "a.output.weight");
  ForwardContext context;
  EXPECT_THROW(dense.forward(Var(random_f64({8, 17}, 1)), context), ShapeError);
  EXPECT_THROW(SelfAttention({.features = 7, .heads = 2, .sequence_length = 6}, init), ValueError);
  options.sequence_length = 5;
  EXPECT_THROW(SelfAttention(options, init), ValueError);
  options.sequence_length = 6;
  options.heads = 4;
  options.patterns = std::make_shared<AttentionPatterns>(std::vector(3, causal_band(6, 2)));
  EXPECT_THROW(SelfAttention(options, init), ValueError);
  EXPECT_THROW(AttentionPatterns({}), ValueError);
  EXPECT_THROW(AttentionPatterns({causal_band(6, 2), causal_band(5, 2)}), ValueError);
}

TEST_F(Layers, FlattenPutsEachImageInAColumn) {
  // 2 channels, 3 images, 2 pixels: element (c, b, p) holds 100 c + 10 b + p.
  std::vector<double> values;
  for (int c = 0; c < 2; ++c) {
    for (int b = 0; b < 3; ++b) {
      for (int p = 0; p < 2; ++p) values.push_back(100 * c + 10 * b + p);
    }
  }
  const Var x(Tensor::from(values, {2, 6}), true);
  const Var y = flatten(x, 2);
  EXPECT_TRUE((y.shape() == Shape{4, 3}));
  EXPECT_EQ(y.data().to_vector<double>(), (std::vector<double>{0, 10, 20, 1, 11, 21, 100, 110, 120, 101, 111, 121}));
  backward(y, y.data());
  EXPECT_EQ(x.grad().to_vector<double>(), values);
  EXPECT_THROW(flatten(x, 4), ShapeError);
}

struct Named : Module {
  void parameter(const std::string& name) { add_parameter(name, Tensor::zeros({1}, DType::f32)); }
  Var forward(const Var& x, ForwardContext&) override { return x; }
  Shape plan(const Shape& shape, const std::string&, std::vector<LayerPlan>&) const override { return shape; }
};

TEST_F(Layers, NamesArePathsAndUnique) {
  ModuleList<FeedForward> list;
  list.append(FeedForwardOptions{.features = 2, .filter = 3}, init);
  list.append(FeedForwardOptions{.features = 2, .filter = 3}, init);
  EXPECT_EQ(names(list)[5], "1.expand.bias");
  std::vector<LayerPlan> lines;
  list.plan({2, 4}, "blocks", lines);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[2].weight, "blocks.1.expand.weight");
  Named named;
  named.parameter("a");
  EXPECT_THROW(named.parameter("a"), ValueError);
  EXPECT_THROW(named.parameter("a.b"), ValueError);
}

}  // namespace
}  // namespace lacuna
