// Folding for inference: the same function, in f64 and f32, dense and sparse, on every device.
#include <gtest/gtest.h>

#include "core/errors.h"
#include "models/factory.h"
#include "models/mobilenet.h"
#include "models/transformer.h"
#include "tests/layers/module_check.h"

namespace lacuna {
namespace {

MobilenetConfig tiny_mobilenet() {
  MobilenetConfig c;
  c.width = 0.05;  // 8 channels, up to 48
  c.stem = MobilenetStem::cifar;
  c.image_size = 12;
  c.num_classes = 3;
  c.dropout = 0.3;
  return c;
}

/// Norms whose statistics, gains (one of them 0, some negative) and biases all matter.
void unsettle(Module& model) {
  const auto fill = [](const Tensor& t, double low, double high, std::uint64_t seed) {
    t.copy_from(random_uniform(t.shape(), low, high, {seed, 6}, t.dtype(), kCpu));
  };
  std::uint64_t seed = 1;
  for (const NamedBuffer& b : model.buffers()) {
    const bool is_variance = b.name.find("running_var") != std::string::npos;
    fill(*b.tensor, is_variance ? 0.5 : -0.2, is_variance ? 1.5 : 0.2, ++seed);
  }
  for (const Parameter* p : model.parameters()) {
    if (p->name().find("norm.gain") != std::string::npos) {
      fill(p->value(), -0.5, 2.0, ++seed);
      fill(p->value().slice(0, 1), 0, 0, ++seed);
    }
    if (p->name().find("norm.bias") != std::string::npos) fill(p->value(), -0.5, 0.5, ++seed);
  }
}

std::unique_ptr<Module> mobilenet(DType dtype, bool sparse) {
  RandomStream random(3);
  auto model = std::make_unique<Mobilenet>(tiny_mobilenet(), 2, Init{random, dtype});
  unsettle(*model);
  if (sparse) make_sparse(*model);
  return model;
}

Tensor images(DType dtype) { return random_uniform({2, 5 * 144}, -1, 1, {4, 4}, dtype, kCpu); }

Tensor tokens(std::int64_t count, std::int64_t vocabulary) {
  std::vector<std::int32_t> ids;
  for (std::int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<std::int32_t>(random_word({8, 2}, static_cast<std::uint64_t>(i)) % vocabulary));
  return Tensor::from(ids, {count});
}

TEST(Folding, ComputesTheSameFunction) {
  for (const bool sparse : {false, true}) {
    for (const auto& [dtype, tolerance] : {std::pair{DType::f64, 1e-13}, std::pair{DType::f32, 2e-6}}) {
      const auto model = mobilenet(dtype, sparse);
      const std::vector<double> before = evaluate(*model, images(dtype));
      model->prepare_for_inference();
      const std::vector<double> after = evaluate(*model, images(dtype));
      expect_near(after, before, tolerance);
      EXPECT_NE(after, before) << "nothing was folded";  // rounding differs
    }
  }
}

TEST(Folding, LeavesNoNormAndKeepsPatterns) {
  const auto model = mobilenet(DType::f32, true);
  std::map<std::string, TopologyPtr> patterns;
  for (const Parameter* p : model->parameters())
    if (p->is_sparse()) patterns[p->name()] = p->topology();
  ASSERT_EQ(patterns.size(), 12u);
  model->prepare_for_inference();
  EXPECT_TRUE(model->buffers().empty());
  int biases = 0;
  for (const Parameter* p : model->parameters()) {
    EXPECT_EQ(p->name().find("norm"), std::string::npos) << p->name();
    biases += p->name().ends_with(".bias");
    if (p->is_sparse()) {
      EXPECT_EQ(p->topology(), patterns.at(p->name())) << p->name();
    }
  }
  EXPECT_EQ(biases, 1 + 2 * 13 + 1);  // stem, two a block, classifier
  std::vector<LayerPlan> lines;
  model->plan({2, 144}, "", lines);
  for (const LayerPlan& line : lines) EXPECT_NE(line.kind, "batch_norm") << line.name;
  const std::vector<double> once = evaluate(*model, images(DType::f32));
  model->prepare_for_inference();  // a second call does nothing
  EXPECT_EQ(evaluate(*model, images(DType::f32)), once);
  model->to(kCpu);
  EXPECT_EQ(evaluate(*model, images(DType::f32)), once);
}

TEST(Folding, RefusesTraining) {
  const auto model = mobilenet(DType::f32, false);
  model->prepare_for_inference();
  RandomStream random(1);
  ForwardContext context{.training = true, .random = &random};
  EXPECT_THROW(model->forward(Var(images(DType::f32)), context), ValueError);
}

TEST(Folding, IntoAPrunedOrdinaryConvolution) {
  RandomStream random(5);
  const Init init{random, DType::f64};
  Conv2d conv(2, 6, {5, 5}, {.bias = true, .prunable = true}, init);
  BatchNorm norm(6, {.relu = true}, init);
  roughen(conv);
  unsettle(norm);
  make_sparse(conv);
  const Tensor x = random_f64({2, 3 * 25}, 7);
  ForwardContext context;
  const std::vector<double> apart = norm.forward(conv.forward(Var(x), context), context).data().to_vector<double>();
  conv.absorb(norm.dissolve());
  expect_near(evaluate(conv, x), apart, 1e-13);
  expect_near(norm.forward(conv.forward(Var(x), context), context).data().to_vector<double>(), apart, 1e-13);
  EXPECT_THROW(norm.dissolve(), ValueError);
  BatchNorm second(6, {}, init), other(4, {}, init);
  EXPECT_THROW(conv.absorb(second.dissolve()), ValueError);  // a ReLU stands between
  PointwiseConv pointwise(2, 6, {}, init);
  EXPECT_THROW(pointwise.absorb(other.dissolve()), ShapeError);
}

TEST(Folding, LeavesModelsWithoutNormsAlone) {
  TransformerConfig config;
  config.vocabulary = 7;
  config.sequence_length = 6;
  config.layers = 2;
  config.hidden = 8;
  config.filter = 12;
  config.heads = 2;
  config.attention = BandAndRandomConfig{.band = 2, .off_band_sparsity = 0.5};
  RandomStream random(3);
  Transformer model(config, Init{random});
  make_sparse(model);
  const std::vector<double> before = evaluate(model, tokens(18, 7));
  model.prepare_for_inference();
  EXPECT_EQ(evaluate(model, tokens(18, 7)), before);
}

TEST(FoldingOnCuda, AgreesWithTheCpu) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  for (const bool sparse : {false, true}) {
    const auto here = mobilenet(DType::f32, sparse), there = mobilenet(DType::f32, sparse);
    here->prepare_for_inference();
    there->to(devices()[1]);
    there->prepare_for_inference();  // folded on the device
    expect_near(evaluate(*there, images(DType::f32).to(devices()[1])), evaluate(*here, images(DType::f32)), 1e-4);
  }
}

}  // namespace
}  // namespace lacuna
