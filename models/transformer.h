// Transformer: decoder-only, pre-norm, with dense or sparse weights and attention.
//
// t: sequence length.   d: hidden features.   n = batch * t: columns.
#pragma once

#include "layers/attention.h"
#include "layers/embedding.h"
#include "layers/feed_forward.h"
#include "layers/module_list.h"
#include "layers/norm.h"
#include "models/transformer_config.h"

namespace lacuna {

/// x + dropout(attention(norm(x))), then the same with the feed-forward layer.
///   x  [d, n]      returns the same shape
class TransformerBlock : public Module {
 public:
  TransformerBlock(const TransformerConfig& config, AttentionPatternsPtr patterns, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  /// The same on a stream whose last addition may be pending; leaves its own pending, so that every addition meets a
  /// norm.
  Residual advance(Residual x, ForwardContext& context);
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  double dropout_;
  LayerNorm& attention_norm_;
  SelfAttention& attention_;
  LayerNorm& feed_forward_norm_;
  FeedForward& feed_forward_;
};

/// Embeddings, blocks, a final norm and the output layer.
///   x  i32 tokens [batch * t], whole sequences one after another      returns logits [vocabulary, n]
/// Parameters: embedding.tokens, embedding.positions (when learned), blocks.<i>.{attention_norm, attention.{query, key,
/// value, output}, feed_forward_norm, feed_forward.{expand, contract}}, norm, output.{weight, bias} (unless tied).
/// Prunable: the six weights of each block. Embeddings and the output layer stay dense.
/// Initial weights: N(0, 1 / inputs) (He before a ReLU); the two that write to the residual stream are divided by
/// sqrt(2 layers) (Radford et al., GPT-2, 2019, section 2.3); the output layer N(0, 0.02^2).
/// Throws ShapeError when the tokens are not whole sequences of the configured length.
class Transformer : public Module {
 public:
  /// Throws ValueError on sizes that do not fit; DataError from pattern files.
  Transformer(const TransformerConfig& config, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  TransformerConfig config_;
  TokenEmbedding* embedding_ = nullptr;
  ModuleList<TransformerBlock>* blocks_ = nullptr;
  LayerNorm* norm_ = nullptr;
  Linear* output_ = nullptr;  // null when tied
};

/// The patterns of each layer: null entries for dense attention; layers that share patterns share the pointer. Random
/// ones depend on (seed, layer, head) alone, so neither the model's size nor its other draws change them.
std::vector<AttentionPatternsPtr> make_attention_patterns(const TransformerConfig& config, std::uint64_t seed);

}  // namespace lacuna
