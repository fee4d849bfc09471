// What a config may say about the Transformer.
#pragma once

#include <string>
#include <variant>

#include "layers/embedding.h"
#include "models/activation_names.h"

namespace lacuna {

inline EnumNames<Positions> enum_names(Positions) {
  return {{"learned", Positions::learned}, {"sinusoidal", Positions::sinusoidal}};
}

/// Every earlier token: by one kernel that stores no scores where there is one (CUDA, heads of 32, 64 or 128 features),
/// else with the scores of all pairs in memory.
struct DenseAttentionConfig {
  static constexpr const char* kType = "dense";
};
template <class V>
void describe(DenseAttentionConfig&, V&&) {}

/// Every earlier token, the scores of all pairs in memory on every device: the baseline of the paper.
struct DenseMaterialisedConfig {
  static constexpr const char* kType = "dense_materialised";
};
template <class V>
void describe(DenseMaterialisedConfig&, V&&) {}

/// The nearest tokens.
struct CausalBandConfig {
  static constexpr const char* kType = "causal_band";
  std::int64_t band = 256;
};
template <class V>
void describe(CausalBandConfig& c, V&& v) {
  v("band", c.band, "Nearest tokens attended to, the query's own included", positive());
}

/// The band and random earlier tokens, the nearer the likelier (layers/attention_patterns.h).
struct BandAndRandomConfig {
  static constexpr const char* kType = "band_and_random";
  std::int64_t band = 256;
  double off_band_sparsity = 0.95;
  bool per_head = true;
  bool per_layer = true;
};
template <class V>
void describe(BandAndRandomConfig& c, V&& v) {
  v("band", c.band, "Nearest tokens attended to, the query's own included", positive());
  v("off_band_sparsity", c.off_band_sparsity, "Expected share of the pairs beyond the band that are left out",
    probability());
  v("per_head", c.per_head, "Draw a pattern for each head; otherwise the heads of a layer share one");
  v("per_layer", c.per_layer, "Draw patterns for each layer; otherwise all layers share them");
}

/// The band and every stride-th token.
struct StridedConfig {
  static constexpr const char* kType = "strided";
  std::int64_t band = 256;
  std::int64_t stride = 128;
};
template <class V>
void describe(StridedConfig& c, V&& v) {
  v("band", c.band, "Nearest tokens attended to, the query's own included", positive());
  v("stride", c.stride, "Distance between the farther tokens attended to", positive());
}

/// Patterns from .smtx files.
struct FromFileConfig {
  static constexpr const char* kType = "from_file";
  std::string path;
};
template <class V>
void describe(FromFileConfig& c, V&& v) {
  v("path", c.path,
    "A .smtx file; '{layer}' and '{head}' in it stand for the numbers from 0, so that each may have its own",
    required(), non_empty());
}

using AttentionConfig = std::variant<DenseAttentionConfig, DenseMaterialisedConfig, CausalBandConfig,
                                     BandAndRandomConfig, StridedConfig, FromFileConfig>;

struct TransformerDropoutConfig {
  double attention = 0.0;
  double residual = 0.0;
  double activation = 0.0;
};
template <class V>
void describe(TransformerDropoutConfig& c, V&& v) {
  v("attention", c.attention, "On the attention probabilities", fraction());
  v("residual", c.residual, "On what each sublayer adds to the residual stream, and on the embeddings", fraction());
  v("activation", c.activation, "Inside the feed-forward layers, after the activation", fraction());
}

/// A decoder-only Transformer.
struct TransformerConfig {
  static constexpr const char* kType = "transformer";
  std::int64_t vocabulary = 256;
  std::int64_t sequence_length = 0;
  std::int64_t layers = 4;
  std::int64_t hidden = 256;
  std::int64_t filter = 1024;
  std::int64_t heads = 4;
  Activation activation = Activation::relu;
  TransformerDropoutConfig dropout;
  AttentionConfig attention;
  Positions positions = Positions::learned;
  bool tie_embeddings = false;
  bool recompute = false;
};
template <class V>
void describe(TransformerConfig& c, V&& v) {
  v("vocabulary", c.vocabulary, "Number of tokens; 256 for bytes", positive());
  v("sequence_length", c.sequence_length, "Tokens per sequence; 0 = as the data has them", non_negative());
  v("layers", c.layers, "Blocks of attention and feed-forward", positive());
  v("hidden", c.hidden, "Features of a token", positive());
  v("filter", c.filter, "Features between the two feed-forward products", positive());
  v("heads", c.heads, "Attention heads; they must divide 'hidden'", positive());
  v("activation", c.activation, "Of the feed-forward layers");
  v("dropout", c.dropout, "Shares of elements dropped while training");
  v("attention", c.attention, "Which tokens a token attends to");
  v("positions", c.positions, "How a token's place enters");
  v("tie_embeddings", c.tie_embeddings, "Use the token table as the output layer's weight");
  v("recompute", c.recompute, "Keep each block's input alone for backward, and compute its activations again there");
}
inline void validate(const TransformerConfig& c, const ReportProblem& problem) {
  if (c.hidden % c.heads != 0) {
    problem("heads", "must divide 'hidden' (" + std::to_string(c.hidden) + "), got " + std::to_string(c.heads));
  }
}

}  // namespace lacuna
