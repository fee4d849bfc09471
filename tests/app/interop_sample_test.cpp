// Networks for tests/app/interop_torch.py: checkpoints, inputs, and the logits of the forward pass here.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "app/run_config.h"
#include "models/factory.h"
#include "train/checkpoint.h"
#include "train/safetensors.h"

namespace lacuna {
namespace {

struct Sample {
  const char* name;
  const char* model;
  const char* data;
  DataShape shape;
  std::int64_t batch;
};

// The images of the MLP have two channels, so that the order in which they are flattened shows.
const Sample kSamples[] = {
    {"mlp", "{type: mlp, hidden: [24, 12], activation: gelu}", "{type: synthetic}", {10, 0, 2, 4, 4}, 5},
    {"mobilenet", "{type: mobilenet_v1, width: 0.25, stem: cifar}", "{type: synthetic}", {10, 0, 3, 32, 32}, 2},
    {"mobilenet_imagenet", "{type: mobilenet_v1, width: 0.25}", "{type: synthetic}", {7, 0, 3, 64, 64}, 2},
    {"transformer",
     "{type: transformer, vocabulary: 256, layers: 2, hidden: 32, filter: 64, heads: 4}",
     "{type: synthetic_tokens, sequence_length: 16}",
     {256, 16, 0, 0, 0},
     3},
    {"transformer_sparse_attention",
     "{type: transformer, vocabulary: 256, layers: 2, hidden: 32, filter: 64, heads: 4, activation: gelu, positions: "
     "sinusoidal, tie_embeddings: true, attention: {type: band_and_random, band: 3, off_band_sparsity: 0.6}}",
     "{type: synthetic_tokens, sequence_length: 16}",
     {256, 16, 0, 0, 0},
     3},
};

float uniform(std::uint64_t& state) {  // any numbers will do, as long as they repeat
  state = state * 6364136223846793005u + 1442695040888963407u;
  return static_cast<float>(state >> 40) / static_cast<float>(1 << 24);
}

/// No number of the network is left at a round initial value, and weights that may be are sparse.
void disturb(Module& model) {
  std::uint64_t state = 17;
  for (Parameter* p : model.parameters()) {
    float* value = p->value().data<float>();
    if (p->shape().rank() == 1)
      for (std::int64_t i = 0; i < p->nnz(); ++i) value[i] += 0.4f * (uniform(state) - 0.5f);
    if (!p->prunable) continue;
    Tensor mask = Tensor::zeros(p->shape(), DType::u8);
    for (std::int64_t i = 0; i < mask.numel(); ++i) mask.data<std::uint8_t>()[i] = uniform(state) < 0.4f ? 1 : 0;
    p->retopologize(Topology::from_mask(mask));
  }
  for (const NamedBuffer& buffer : model.buffers()) {
    float* value = buffer.tensor->data<float>();
    for (std::int64_t i = 0; i < buffer.tensor->numel(); ++i) value[i] += 0.3f * uniform(state);
  }
}

Tensor inputs(const DataShape& shape, std::int64_t batch) {
  std::uint64_t state = 5;
  const Shape extents = shape.inputs(batch);
  Tensor x = Tensor::empty(extents, shape.is_tokens() ? DType::i32 : DType::f32);
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const float u = uniform(state);
    if (shape.is_tokens()) {
      x.data<std::int32_t>()[i] = static_cast<std::int32_t>(u * static_cast<float>(shape.num_classes));
    } else {
      x.data<float>()[i] = 2 * u - 1;
    }
  }
  return x;
}

TEST(InteropSample, DISABLED_Write) {
  const char* root = std::getenv("LACUNA_SAMPLES");
  ASSERT_NE(root, nullptr);
  for (const Sample& sample : kSamples) {
    const RunConfig config =
        parse_run_config(std::string("name: sample\nseed: 3\noptimizer: {type: adam}\ntraining: {steps: 2}\nmodel: ") +
                             sample.model + "\ndata: " + sample.data + "\n",
                         sample.name);
    RandomStream init(config.seed, 0);
    const std::unique_ptr<Module> model = make_model(config.model, sample.shape, init, kCpu);
    const std::vector<Parameter*> parameters = model->parameters();
    disturb(*model);
    TrainingState state;
    state.extra["config"] = write_run_config(config);
    const std::filesystem::path path = std::filesystem::path(root) / sample.name;
    save_checkpoint(path.string() + ".safetensors", parameters, model->buffers(), state);
    const Tensor x = inputs(sample.shape, sample.batch);
    ForwardContext context;
    const Tensor logits = model->forward(Var(x), context).data();
    write_safetensors(path.string() + ".io.safetensors", {{}, {{"inputs", x}, {"logits", logits}}});
  }
}

}  // namespace
}  // namespace lacuna
