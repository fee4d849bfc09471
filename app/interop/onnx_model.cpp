// The graphs of the models, each in the order of its forward pass (models/mlp.cpp, mobilenet.cpp, transformer.cpp).
#include "app/interop/onnx_model.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>

#include "app/interop/onnx_weights.h"
#include "core/errors.h"
#include "data/image_folder_bytes.h"
#include "layers/embedding.h"
#include "models/mobilenet.h"
#include "models/transformer.h"

namespace lacuna {

namespace {

constexpr double kEps = 1e-5;  // of the norms, as layers/norm.h has it
constexpr std::int64_t kCifarBytes = 3 * 32 * 32;

struct MlpGraph {
  OnnxLayers& layers;
  void operator()(const MlpConfig& config) const {
    std::int64_t features = layers.shape("layers.0.weight", {-1, -1})[1];
    layers.graph().input("images", OnnxType::f32, {{0, "batch"}, {features, ""}});
    std::string x = "images";
    for (std::size_t i = 0; i <= config.hidden.size(); ++i) {
      const std::string name = fmt::format("layers.{}", i);
      x = layers.linear(name, x, features, &features);
      if (i < config.hidden.size()) x = layers.activation(name + ".activation", x, config.activation);
    }
    layers.graph().node("logits", "Identity", {x});
    layers.graph().output("logits", OnnxType::f32, {{0, "batch"}, {features, ""}});
  }
};

struct MobilenetGraph {
  OnnxLayers& layers;

  std::string norm(const std::string& name, const std::string& x, std::int64_t channels) const {
    const std::vector<std::int64_t> c{channels};
    const std::string y =
        layers.graph().node(name, "BatchNormalization",
                            {x, layers.weight(name + ".gain", c), layers.weight(name + ".bias", c),
                             layers.weight(name + ".running_mean", c), layers.weight(name + ".running_var", c)},
                            {{"epsilon", kEps}});
    return layers.graph().node(name + ".relu", "Relu", {y});
  }

  std::string conv(const std::string& name, const std::string& x, const Shape& shape, std::int64_t stride,
                   std::int64_t groups) const {
    const std::int64_t kernel = shape[2], padding = kernel / 2;
    return layers.graph().node(name, "Conv", {x, layers.weight_as(name + ".weight", shape)},
                               {{"kernel_shape", std::vector{kernel, kernel}},
                                {"strides", std::vector{stride, stride}},
                                {"pads", std::vector{padding, padding, padding, padding}},
                                {"group", groups}});
  }

  void operator()(const MobilenetConfig& config) const {
    const std::vector<int> strides = block_strides(config);
    const Shape stem = layers.shape("stem.weight", {-1, -1});
    const std::int64_t inputs = stem[1] / 9;
    layers.shape("stem.weight", {-1, inputs * 9});
    layers.graph().input("images", OnnxType::f32, {{0, "batch"}, {inputs, ""}, {0, "height"}, {0, "width"}});
    std::int64_t channels = stem[0];
    std::string x = conv("stem", "images", {channels, inputs, 3, 3}, config.stem == MobilenetStem::cifar ? 1 : 2, 1);
    x = norm("stem_norm", x, channels);
    for (std::size_t i = 0; i < strides.size(); ++i) {
      const std::string block = fmt::format("blocks.{}.", i);
      layers.shape(block + "depthwise.weight", {channels, 9});
      x = conv(block + "depthwise", x, {channels, 1, 3, 3}, strides[i], channels);
      x = norm(block + "depthwise_norm", x, channels);
      const std::int64_t next = layers.shape(block + "pointwise.weight", {-1, channels})[0];
      x = conv(block + "pointwise", x, {next, channels, 1, 1}, 1, 1);
      x = norm(block + "pointwise_norm", x, next);
      channels = next;
    }
    x = layers.graph().node("pool", "GlobalAveragePool", {x});
    x = layers.graph().node("pooled", "Flatten", {x});
    std::int64_t classes = 0;
    x = layers.linear("classifier", x, channels, &classes);
    layers.graph().node("logits", "Identity", {x});
    layers.graph().output("logits", OnnxType::f32, {{0, "batch"}, {classes, ""}});
  }
};

struct TransformerGraph {
  OnnxLayers& layers;
  const RunConfig& run;

  std::int64_t sequence_length(const TransformerConfig& config) const {
    if (config.positions == Positions::learned) return layers.shape("embedding.positions", {-1, config.hidden})[0];
    if (config.sequence_length > 0) return config.sequence_length;
    if (run.data.type == "image_folder_bytes") {
      const std::int64_t side = run.data.image_size > 0 ? run.data.image_size : ImageFolderBytesOptions{}.image_size;
      return 3 * side * side;
    }
    return run.data.type == "cifar10_bytes" ? kCifarBytes : run.data.sequence_length;
  }

  std::string embed(const TransformerConfig& c, std::int64_t t) const {
    OnnxGraph& g = layers.graph();
    std::string x = g.node("embedding", "Gather", {layers.weight("embedding.tokens", {-1, c.hidden}), "tokens"});
    if (c.positions == Positions::learned)
      return g.node("embedding.sum", "Add", {x, layers.weight("embedding.positions", {t, c.hidden})});
    const std::string scale = g.scalar("embedding.scale", std::sqrt(static_cast<double>(c.hidden)));
    x = g.node("embedding.scaled", "Mul", {x, scale});
    const std::string table = g.constant("embedding.positions", sinusoidal_positions(t, c.hidden, DType::f32));
    return g.node("embedding.sum", "Add", {x, table});
  }

  std::string norm(const std::string& name, const std::string& x, std::int64_t features) const {
    return layers.graph().node(
        name, "LayerNormalization",
        {x, layers.weight(name + ".gain", {features}), layers.weight(name + ".bias", {features})},
        {{"axis", std::int64_t{-1}}, {"epsilon", kEps}});
  }

  /// Which keys a query sees, bool [t, t] or [heads, t, t].
  std::string mask(const std::string& name, const AttentionPatternsPtr& patterns, std::int64_t t) const {
    OnnxGraph& g = layers.graph();
    if (!patterns) {
      std::vector<std::int64_t> places;
      for (std::int64_t i = 0; i < t; ++i) places.push_back(i);
      const std::string query = g.integers(name + ".query", places, {t, 1});
      return g.node(name, "GreaterOrEqual", {query, g.integers(name + ".key", places, {1, t})});
    }
    const auto count = static_cast<std::int64_t>(patterns->topologies().size());
    if (t * t * count > std::numeric_limits<std::int32_t>::max())
      throw DataError("onnx",
                      fmt::format("{} attention masks of {} x {}; one ONNX file holds at most 2 GiB", count, t, t));
    std::vector<std::uint8_t> seen(static_cast<std::size_t>(count * t * t), 0);
    for (std::int64_t head = 0; head < count; ++head) {
      const TopologyPtr pattern = patterns->topologies()[static_cast<std::size_t>(head)]->to(kCpu);
      const auto offsets = pattern->row_offsets().to_vector<std::int32_t>();
      const auto columns = pattern->col_indices().to_vector<std::int32_t>();
      for (std::int64_t row = 0; row < t; ++row) {
        for (auto i = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row)]);
             i < static_cast<std::size_t>(offsets[static_cast<std::size_t>(row) + 1]); ++i)
          seen[static_cast<std::size_t>((head * t + row) * t + columns[i])] = 1;
      }
    }
    return g.booleans(name, seen, {count, t, t});  // broadcasts over batch, and over heads when they share it
  }

  std::string attention(const std::string& name, const std::string& x, const TransformerConfig& c,
                        const std::string& mask_name) const {
    OnnxGraph& g = layers.graph();
    const std::int64_t width = c.hidden / c.heads;
    const std::string split = g.integers(name + ".split", {0, 0, c.heads, width}, {4});  // 0: as the input has it
    const auto heads = [&](const char* part, const std::vector<std::int64_t>& order) {
      const std::string base = name + "." + part;
      const std::string y = g.node(base + ".heads", "Reshape", {layers.linear(base, x, c.hidden), split});
      return g.node(base + ".turned", "Transpose", {y}, {{"perm", order}});
    };
    const std::string q = heads("query", {0, 2, 1, 3}), k = heads("key", {0, 2, 3, 1}),
                      v = heads("value", {0, 2, 1, 3});
    std::string y = g.node(name + ".scores", "MatMul", {q, k});
    y = g.node(name + ".scaled", "Mul", {y, g.scalar(name + ".scale", 1.0 / std::sqrt(static_cast<double>(width)))});
    const std::string never = g.scalar(name + ".never", std::numeric_limits<float>::lowest());
    y = g.node(name + ".masked", "Where", {mask_name, y, never});
    y = g.node(name + ".probabilities", "Softmax", {y}, {{"axis", std::int64_t{-1}}});
    y = g.node(name + ".mixed", "MatMul", {y, v});
    y = g.node(name + ".together", "Transpose", {y}, {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
    y = g.node(name + ".merged", "Reshape", {y, g.integers(name + ".merge", {0, 0, c.hidden}, {3})});
    return layers.linear(name + ".output", y, c.hidden);
  }

  void operator()(const TransformerConfig& config) const {
    TransformerConfig c = config;
    c.sequence_length = sequence_length(config);
    const std::int64_t t = c.sequence_length;
    OnnxGraph& g = layers.graph();
    g.input("tokens", OnnxType::i64, {{0, "batch"}, {t, ""}});
    std::string x = embed(c, t);
    const std::vector<AttentionPatternsPtr> patterns = make_attention_patterns(c, run.seed);
    std::vector<std::string> masks;
    for (std::size_t i = 0; i < patterns.size(); ++i) {
      const std::string block = fmt::format("blocks.{}.", i);
      const bool shared = i > 0 && patterns[i] == patterns[i - 1];
      masks.push_back(shared ? masks.back() : mask(block + "attention.mask", patterns[i], t));
      std::string y = norm(block + "attention_norm", x, c.hidden);
      y = attention(block + "attention", y, c, masks.back());
      x = g.node(block + "middle", "Add", {x, y});
      y = norm(block + "feed_forward_norm", x, c.hidden);
      std::int64_t filter = 0;
      y = layers.linear(block + "feed_forward.expand", y, c.hidden, &filter);
      y = layers.activation(block + "feed_forward.activation", y, c.activation);
      y = layers.linear(block + "feed_forward.contract", y, filter);
      x = g.node(block + "end", "Add", {x, y});
    }
    x = norm("norm", x, c.hidden);
    std::int64_t vocabulary = layers.shape("embedding.tokens", {-1, c.hidden})[0];
    if (c.tie_embeddings) {
      x = g.node("output", "MatMul", {x, layers.transposed_weight("embedding.tokens", {-1, c.hidden})});
    } else {
      x = layers.linear("output", x, c.hidden, &vocabulary);
    }
    g.node("logits", "Identity", {x});
    g.output("logits", OnnxType::f32, {{0, "batch"}, {t, ""}, {vocabulary, ""}});
  }
};

struct ModelGraph : MlpGraph, MobilenetGraph, TransformerGraph {
  using MlpGraph::operator(), MobilenetGraph::operator(), TransformerGraph::operator();
};

}  // namespace

std::string onnx_model(const RunConfig& config, const interop::State& state) {
  OnnxGraph graph(config.name);
  OnnxLayers layers(state, graph);
  std::visit(ModelGraph{{layers}, {layers}, {layers, config}}, config.model);
  return graph.model();
}

}  // namespace lacuna
