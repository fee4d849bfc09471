// Whole models: hand counts, gradients in f64, dense and sparse storage, a loss that falls, CPU against CUDA.
#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/cross_entropy.h"
#include "models/factory.h"
#include "models/mobilenet.h"
#include "models/transformer.h"
#include "tests/layers/module_check.h"

namespace lacuna {
namespace {

TransformerConfig tiny_transformer(AttentionConfig attention = DenseAttentionConfig{}) {
  TransformerConfig c;
  c.vocabulary = 7;
  c.sequence_length = 6;
  c.layers = 2;
  c.hidden = 8;
  c.filter = 12;
  c.heads = 2;
  c.attention = std::move(attention);
  return c;
}

MobilenetConfig tiny_mobilenet() {
  MobilenetConfig c;
  c.width = 0.05;  // 8 channels, up to 48
  c.stem = MobilenetStem::cifar;
  c.image_size = 12;
  c.num_classes = 3;
  return c;
}

Tensor random_tokens(std::int64_t count, std::int64_t vocabulary, std::uint64_t seed) {
  std::vector<std::int32_t> tokens;
  for (std::int64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::int32_t>(random_word({seed, 2}, static_cast<std::uint64_t>(i)) % vocabulary));
  }
  return Tensor::from(tokens, {count});
}

std::int64_t count_parameters(Module& model, bool only_prunable = false) {
  std::int64_t count = 0;
  for (const Parameter* p : model.parameters()) count += only_prunable && !p->prunable ? 0 : p->shape().numel();
  return count;
}

double total_flops(const Module& model, const Shape& input) {
  std::vector<LayerPlan> lines;
  model.plan(input, "", lines);
  double sum = 0;
  for (const LayerPlan& line : lines) sum += line.flops;
  return sum;
}

/// Every weight a plan names is a parameter, and no layer is named twice.
void expect_plan_names(Module& model, const Shape& input) {
  std::vector<LayerPlan> lines;
  model.plan(input, "", lines);
  std::set<std::string> parameters, layers;
  for (const Parameter* p : model.parameters()) parameters.insert(p->name());
  EXPECT_EQ(parameters.size(), model.parameters().size());
  for (const LayerPlan& line : lines) {
    EXPECT_TRUE(layers.insert(line.name).second) << line.name;
    EXPECT_TRUE(line.weight.empty() || parameters.count(line.weight)) << line.weight;
  }
}

TEST(Transformer, Gradients) {
  const Tensor tokens = random_tokens(12, 7, 1);
  const std::vector<AttentionConfig> attentions{
      DenseAttentionConfig{}, DenseMaterialisedConfig{}, CausalBandConfig{.band = 3},
      BandAndRandomConfig{.band = 2, .off_band_sparsity = 0.5}, StridedConfig{.band = 2, .stride = 3}};
  for (const AttentionConfig& attention : attentions) {
    TransformerConfig config = tiny_transformer(attention);
    config.dropout = {.attention = 0.1, .residual = 0.2, .activation = 0.1};
    RandomStream random(3);
    Transformer model(config, Init{random, DType::f64});
    roughen(model);
    check_dense_sparse(model, tokens, {.most = 3, .input = false});
  }
}

TEST(Transformer, GradientsTiedSinusoidalGelu) {
  TransformerConfig config = tiny_transformer();
  config.tie_embeddings = true;
  config.positions = Positions::sinusoidal;
  config.activation = Activation::gelu;
  RandomStream random(4);
  Transformer model(config, Init{random, DType::f64});
  roughen(model);
  check_dense_sparse(model, random_tokens(12, 7, 1), {.most = 10, .input = false});
  for (const Parameter* p : model.parameters()) EXPECT_EQ(p->name().find("output.") == 0, false) << p->name();
}

TEST(Transformer, Counts) {
  TransformerConfig c;
  c.sequence_length = 64;
  c.layers = 3;
  c.hidden = 32;
  c.filter = 80;
  c.heads = 4;
  RandomStream random(1);
  Transformer model(c, Init{random});
  const std::int64_t d = 32, f = 80, block_weights = 4 * d * d + 2 * d * f;
  const std::int64_t block =
      block_weights + 4 * d + f + d + 4 * d;  // projections' biases, expand's, contract's, two norms
  EXPECT_EQ(count_parameters(model), 256 * d + 64 * d + 3 * block + 2 * d + 256 * d + 256);
  EXPECT_EQ(count_parameters(model, true), 3 * block_weights);
  const double columns = 2 * 64, attention = 2.0 * 2 * 4 * 64 * 64 * 8 * 2;  // two products, 4 heads of 8, batch 2
  EXPECT_EQ(total_flops(model, {2 * 64}), 2.0 * columns * (3 * block_weights + 256 * d) + 3 * attention);
  expect_plan_names(model, {2 * 64});
}

TEST(Transformer, RefusesWhatDoesNotFit) {
  RandomStream random(1);
  Transformer model(tiny_transformer(), Init{random});
  ForwardContext context;
  EXPECT_THROW(model.forward(Var(random_tokens(5, 7, 1)), context), ShapeError);   // shorter than a sequence
  EXPECT_THROW(model.forward(Var(random_tokens(13, 7, 1)), context), ShapeError);  // not whole sequences
  TransformerConfig config = tiny_transformer();
  config.heads = 3;
  EXPECT_THROW(Transformer(config, Init{random}), ValueError);
  config = tiny_transformer(FromFileConfig{.path = "/nonexistent/{layer}.smtx"});
  EXPECT_THROW(Transformer(config, Init{random}), DataError);
}

TEST(Transformer, PatternsPerLayerAndHead) {
  const auto distinct = [](bool per_layer, bool per_head) {
    BandAndRandomConfig attention{.band = 4, .off_band_sparsity = 0.8, .per_head = per_head, .per_layer = per_layer};
    TransformerConfig config = tiny_transformer(attention);
    config.sequence_length = 64;
    std::vector<TopologyPtr> all;
    for (const AttentionPatternsPtr& layer : make_attention_patterns(config, 9)) {
      EXPECT_EQ(layer->topologies().size(), per_head ? 2u : 1u);
      for (const TopologyPtr& pattern : layer->topologies()) {
        const bool seen =
            std::any_of(all.begin(), all.end(), [&](const TopologyPtr& p) { return p->same_pattern(*pattern); });
        if (!seen) all.push_back(pattern);
      }
    }
    return all.size();
  };
  EXPECT_EQ(distinct(true, true), 4u);
  EXPECT_EQ(distinct(false, true), 2u);
  EXPECT_EQ(distinct(true, false), 2u);
  EXPECT_EQ(distinct(false, false), 1u);
  const auto shared = make_attention_patterns(tiny_transformer(CausalBandConfig{.band = 2}), 9);
  EXPECT_EQ(shared[0], shared[1]);
}

TEST(Mobilenet, HandCounts) {
  // Howard et al., table 4: 569 M multiply-adds and 4.2 M parameters at width 1.0 and 224 pixels.
  MobilenetConfig config;
  config.image_size = 224;
  config.num_classes = 1000;
  RandomStream random(1);
  Mobilenet model(config, 3, Init{random});
  EXPECT_EQ(count_parameters(model), 4231976);
  EXPECT_EQ(total_flops(model, {3, 224 * 224}), 2.0 * 568740352);
  std::int64_t pointwise = 0;
  int prunable = 0;
  const std::vector<std::int64_t> channels{64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024};
  for (std::size_t i = 1; i < channels.size(); ++i) pointwise += channels[i] * channels[i - 1];
  for (const Parameter* p : model.parameters()) prunable += p->prunable;
  EXPECT_EQ(prunable, 12);
  EXPECT_EQ(count_parameters(model, true), pointwise);
  expect_plan_names(model, {3, 224 * 224});
}

TEST(Mobilenet, ChannelsAreMultiplesOfEight) {
  EXPECT_EQ(scaled_channels(32, 1.0), 32);
  EXPECT_EQ(scaled_channels(32, 1.3), 40);   // 41.6
  EXPECT_EQ(scaled_channels(64, 1.8), 112);  // 115.2: to the nearest
  EXPECT_EQ(scaled_channels(32, 0.35), 16);  // 11.2 would become 8, below 90 %
  EXPECT_EQ(scaled_channels(32, 0.01), 8);
}

TEST(Mobilenet, StemsAndStrides) {
  const auto last_map = [](MobilenetConfig config) {
    RandomStream random(1);
    Mobilenet model(config, 3, Init{random});
    std::vector<LayerPlan> lines;
    const Shape out = model.plan({3, 2 * config.image_size * config.image_size}, "", lines);
    EXPECT_TRUE((out == Shape{10, 2}));
    for (const LayerPlan& line : lines) {
      if (line.name == "blocks.12.pointwise") return line.columns / 2;
    }
    return std::int64_t{-1};
  };
  MobilenetConfig config;
  config.width = 0.25;
  config.num_classes = 10;
  config.image_size = 224;
  EXPECT_EQ(last_map(config), 7 * 7);
  config.stem = MobilenetStem::cifar;
  config.image_size = 32;
  EXPECT_EQ(last_map(config), 4 * 4);
  config.strides = {1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1};
  EXPECT_EQ(last_map(config), 2 * 2);
  config.strides = {1, 2};
  RandomStream random(1);
  EXPECT_THROW(Mobilenet(config, 3, Init{random}), ValueError);
}

TEST(Mobilenet, Gradients) {
  RandomStream random(5);
  Mobilenet model(tiny_mobilenet(), 2, Init{random, DType::f64});
  roughen(model);
  // Thousands of ReLUs: a short step crosses few kinks, at the price of rounding.
  check_dense_sparse(model, random_f64({2, 4 * 144}, 2), {.step = 1e-7, .tolerance = 2e-5, .most = 3});
}

TEST(Mlp, GradientsAndCounts) {
  MlpConfig config;
  config.hidden = {10, 6};
  config.num_classes = 4;
  config.dropout = 0.2;
  RandomStream random(6);
  Mlp model(config, {.channels = 2, .pixels = 9}, Init{random, DType::f64});
  EXPECT_EQ(count_parameters(model), 18 * 10 + 10 + 10 * 6 + 6 + 6 * 4 + 4);
  EXPECT_EQ(total_flops(model, {2, 3 * 9}), 2.0 * 3 * (180 + 60 + 24));
  expect_plan_names(model, {2, 27});
  roughen(model);
  check_dense_sparse(model, random_f64({2, 5 * 9}, 3));
}

TEST(Factory, FillsInTheData) {
  DataShape text{.num_classes = 256, .sequence_length = 32};
  DataShape images{.num_classes = 10, .channels = 3, .height = 32, .width = 32};
  TransformerConfig transformer;
  MobilenetConfig mobilenet;
  EXPECT_EQ(std::get<TransformerConfig>(resolve(transformer, text)).sequence_length, 32);
  EXPECT_EQ(std::get<MobilenetConfig>(resolve(mobilenet, images)).image_size, 32);
  EXPECT_EQ(std::get<MobilenetConfig>(resolve(mobilenet, images)).num_classes, 10);
  EXPECT_THROW(resolve(transformer, images), ConfigError);
  EXPECT_THROW(resolve(mobilenet, text), ConfigError);
  EXPECT_THROW(resolve(MlpConfig{}, text), ConfigError);
  transformer.sequence_length = 64;
  EXPECT_THROW(resolve(transformer, text), ConfigError);
  transformer.sequence_length = 0;
  transformer.vocabulary = 100;
  EXPECT_THROW(resolve(transformer, text), ConfigError);
  mobilenet.num_classes = 100;
  EXPECT_THROW(resolve(mobilenet, images), ConfigError);
  EXPECT_TRUE((text.inputs(3) == Shape{96}));
  EXPECT_TRUE((images.inputs(2) == Shape{3, 2 * 1024}));
}

TEST(Factory, SameStreamSameWeights) {
  const DataShape images{.num_classes = 5, .channels = 1, .height = 4, .width = 4};
  RandomStream a(8), b(8), c(9);
  const auto first = make_model(MlpConfig{}, images, a, kCpu);
  const auto same = make_model(MlpConfig{}, images, b, kCpu);
  const auto other = make_model(MlpConfig{}, images, c, kCpu);
  const auto weight = [](Module& model) { return model.parameters()[0]->value().to_vector<float>(); };
  EXPECT_EQ(weight(*first), weight(*same));
  EXPECT_NE(weight(*first), weight(*other));
}

/// Plain gradient descent on one batch; returns the first and the last loss.
std::pair<double, double> overfit(Module& model, const Tensor& inputs, const Tensor& targets, double rate, int steps) {
  double first = 0, last = 0;
  for (int step = 0; step < steps; ++step) {
    RandomStream random(1, static_cast<std::uint64_t>(step));
    ForwardContext context{.training = true, .random = &random};
    const Var loss = cross_entropy(model.forward(Var(inputs), context), targets);
    backward(loss);
    for (Parameter* p : model.parameters()) {
      p->value().copy_from(sub(p->value(), scale(p->grad(), rate)));
      p->var().clear_grad();
    }
    last = loss.data().item();
    if (step == 0) first = last;
  }
  return {first, last};
}

TEST(Models, SparseOnesLearnABatchByHeart) {
  RandomStream random(2);
  TransformerConfig config = tiny_transformer(BandAndRandomConfig{.band = 2, .off_band_sparsity = 0.5});
  Transformer transformer(config, Init{random});
  make_sparse(transformer);
  const auto [a, b] = overfit(transformer, random_tokens(24, 7, 1), random_tokens(24, 7, 2), 0.5, 150);
  EXPECT_NEAR(a, std::log(7.0), 0.2);
  EXPECT_LT(b, 0.4 * a);
  Mobilenet mobilenet(tiny_mobilenet(), 3, Init{random});
  make_sparse(mobilenet);
  const Tensor images = random_uniform({3, 6 * 144}, -1, 1, {4, 4}, DType::f32, kCpu);
  const auto [c, d] = overfit(mobilenet, images, random_tokens(6, 3, 3), 0.1, 120);
  EXPECT_NEAR(c, std::log(3.0), 0.3);
  EXPECT_LT(d, 0.4 * c);
}

/// Logits and parameter gradients of a freshly made model on a device.
std::vector<std::vector<double>> run_on(const ModelConfig& config, const DataShape& data, const Tensor& inputs,
                                        Device device) {
  RandomStream init(4), random(5);
  const auto model = make_model(config, data, init, kCpu);
  make_sparse(*model);
  model->to(device);
  ForwardContext context{.training = true, .random = &random};
  const Var y = model->forward(Var(inputs.to(device)), context);
  const Tensor weights = random_uniform(y.shape(), -1, 1, {9, 1}, DType::f32, device);
  backward(sum(mul(y, Var(weights))));
  std::vector<std::vector<double>> results{y.data().to(kCpu).to(DType::f64).to_vector<double>()};
  std::vector<double> gradients;
  for (const Parameter* p : model->parameters()) {
    const auto g = p->grad().to(kCpu).to(DType::f64).to_vector<double>();
    gradients.insert(gradients.end(), g.begin(), g.end());
  }
  results.push_back(gradients);
  return results;
}

TEST(ModelsCuda, AgreeWithTheCpu) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  const Device cuda = devices()[1];
  const DataShape text{.num_classes = 7, .sequence_length = 6};
  const DataShape images{.num_classes = 3, .channels = 3, .height = 12, .width = 12};
  TransformerConfig sparse = tiny_transformer(BandAndRandomConfig{.band = 2, .off_band_sparsity = 0.5});
  sparse.dropout = {.attention = 0.1, .residual = 0.2, .activation = 0.1};
  MobilenetConfig mobilenet = tiny_mobilenet();
  mobilenet.strides = {1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  const auto compare = [&](const ModelConfig& config, const DataShape& data, const Tensor& inputs, double tolerance) {
    const auto a = run_on(config, data, inputs, cuda);
    const auto b = run_on(config, data, inputs, kCpu);
    expect_near(a[0], b[0], tolerance);
    expect_near(a[1], b[1], 10 * tolerance);
  };
  compare(tiny_transformer(), text, random_tokens(18, 7, 1), 1e-5);
  compare(sparse, text, random_tokens(18, 7, 1), 1e-5);
  compare(mobilenet, images, random_uniform({3, 8 * 144}, -1, 1, {4, 4}, DType::f32, kCpu), 1e-3);
  compare(MlpConfig{}, images, random_uniform({3, 8 * 144}, -1, 1, {4, 4}, DType::f32, kCpu), 1e-5);
}

}  // namespace
}  // namespace lacuna
