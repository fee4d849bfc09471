// `recompute: true` changes memory and nothing else: losses, gradients and buffers keep their bits.
#include <gtest/gtest.h>

#include <cstring>

#include "core/ops/cross_entropy.h"
#include "core/random.h"
#include "models/factory.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

bool same_bits(const Tensor& a, const Tensor& b) {
  const std::vector<float> x = a.to_vector<float>(), y = b.to_vector<float>();
  return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
}

struct Run {
  std::vector<Tensor> numbers;  // losses, gradients of the last step, buffers
  std::size_t peak = 0;         // of the last step, above what lived before it
};

Run train(const ModelConfig& config, const DataShape& shape, std::int64_t batch, Device device, bool sparse) {
  RandomStream init(3, 0);
  const std::unique_ptr<Module> model = make_model(config, shape, init, device);
  const std::vector<Parameter*> parameters = model->parameters();
  if (sparse)
    for (Parameter* p : parameters)
      if (p->prunable) p->retopologize(random_topology(p->shape()[0], p->shape()[1], 0.8, 7)->to(device));
  const Shape input = shape.inputs(batch);
  Run run;
  for (std::uint64_t step = 1; step <= 3; ++step) {
    Tensor x;
    std::vector<std::int32_t> targets;
    const std::int64_t count = shape.is_tokens() ? input[0] : batch;
    for (std::int64_t i = 0; i < count; ++i)
      targets.push_back(static_cast<std::int32_t>(random_word({step, 1}, static_cast<std::uint64_t>(i)) %
                                                  static_cast<std::uint64_t>(shape.num_classes)));
    const Tensor y = Tensor::from(targets, {count}, device);
    x = shape.is_tokens() ? y : random_normal(input, 0, 1, {step, 2}, DType::f32, device);
    for (Parameter* p : parameters) p->var().clear_grad();
    RandomStream random(3, step);
    ForwardContext context{.training = true, .random = &random};
    reset_peak_memory(device);
    const std::size_t before = memory_stats(device).live_bytes;
    const Var loss = cross_entropy(model->forward(Var(x), context), y);
    backward(loss);
    run.peak = memory_stats(device).peak_bytes - before;
    run.numbers.push_back(loss.data());
    run.numbers.push_back(
        Tensor::full({}, static_cast<double>(random.next().sequence & 0xFFFF), DType::f32));  // draws made
  }
  for (Parameter* p : parameters) run.numbers.push_back(p->grad());
  for (const NamedBuffer& buffer : model->buffers()) run.numbers.push_back(*buffer.tensor);
  return run;
}

template <class Config>
void expect_same_bits(Config config, const DataShape& shape, std::int64_t batch, double share) {
  for (const Device device : devices())
    for (const bool sparse : {false, true}) {
      config.recompute = false;
      const Run plain = train(config, shape, batch, device, sparse);
      config.recompute = true;
      const Run again = train(config, shape, batch, device, sparse);
      ASSERT_EQ(plain.numbers.size(), again.numbers.size());
      for (std::size_t i = 0; i < plain.numbers.size(); ++i) {
        ASSERT_TRUE(plain.numbers[i].defined() && again.numbers[i].defined()) << i;
        EXPECT_TRUE(same_bits(plain.numbers[i], again.numbers[i]))
            << "number " << i << ", sparse " << sparse << " on " << to_string(device);
      }
      EXPECT_LT(static_cast<double>(again.peak), share * static_cast<double>(plain.peak))
          << again.peak << " of " << plain.peak << ", sparse " << sparse << " on " << to_string(device);
    }
}

TransformerConfig transformer() {
  TransformerConfig c;
  c.vocabulary = 31;
  c.layers = 6;
  c.hidden = 32;
  c.filter = 96;
  c.heads = 4;
  c.dropout = {.attention = 0.1, .residual = 0.2, .activation = 0.3};
  return c;
}
constexpr DataShape kTokens{.num_classes = 31, .sequence_length = 48};

TEST(ModelRecompute, TransformerWithDenseAttention) {
  for (const bool tied : {false, true}) {
    TransformerConfig c = transformer();
    c.tie_embeddings = tied;
    c.activation = tied ? Activation::gelu : Activation::relu;
    expect_same_bits(c, kTokens, 3, 0.5);
  }
}

TEST(ModelRecompute, TransformerWithSparseAttention) {
  TransformerConfig c = transformer();
  c.attention = BandAndRandomConfig{.band = 8, .off_band_sparsity = 0.8};
  expect_same_bits(c, kTokens, 3, 0.6);
}

TEST(ModelRecompute, Mobilenet) {
  MobilenetConfig c;
  c.width = 0.25;
  c.stem = MobilenetStem::cifar;
  c.dropout = 0.2;
  expect_same_bits(c, DataShape{.num_classes = 10, .channels = 3, .height = 16, .width = 16}, 8, 0.8);
}

}  // namespace
}  // namespace lacuna
