#include "models/transformer.h"

#include <cmath>
#include <utility>

#include "core/errors.h"
#include "layers/dropout.h"
#include "layers/multiply.h"
#include "layers/recompute.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {

/// Deviation of a weight whose product is added to the residual stream, 2 * layers times in all.
double residual_deviation(const TransformerConfig& config, std::int64_t inputs) {
  return 1.0 / std::sqrt(static_cast<double>(inputs) * 2.0 * static_cast<double>(config.layers));
}

AttentionOptions attention_options(const TransformerConfig& config, AttentionPatternsPtr patterns) {
  return {.features = config.hidden,
          .heads = config.heads,
          .sequence_length = config.sequence_length,
          .dropout = config.dropout.attention,
          .output_deviation = residual_deviation(config, config.hidden),
          .patterns = std::move(patterns),
          .dense = std::holds_alternative<DenseMaterialisedConfig>(config.attention) ? DenseAttention::materialised
                                                                                     : DenseAttention::automatic};
}

FeedForwardOptions feed_forward_options(const TransformerConfig& config) {
  return {.features = config.hidden,
          .filter = config.filter,
          .activation = config.activation,
          .dropout = config.dropout.activation,
          .output_deviation = residual_deviation(config, config.filter)};
}

/// x through a norm and a sublayer, whose output is then pending. What the stream no longer needs dies on the way.
template <class Sublayer>
Residual pass(LayerNorm& norm, Sublayer& sublayer, double dropout, Residual x, ForwardContext& context) {
  const ResidualNormVars entered = norm.forward(std::move(x), context);
  return {entered.residual, sublayer.pending(entered.normalised, dropout, context)};
}

}  // namespace

TransformerBlock::TransformerBlock(const TransformerConfig& config, AttentionPatternsPtr patterns, Init init)
    : dropout_(config.dropout.residual),
      attention_norm_(add_child<LayerNorm>("attention_norm", config.hidden, init)),
      attention_(add_child<SelfAttention>("attention", attention_options(config, std::move(patterns)), init)),
      feed_forward_norm_(add_child<LayerNorm>("feed_forward_norm", config.hidden, init)),
      feed_forward_(add_child<FeedForward>("feed_forward", feed_forward_options(config), init)) {}

Var TransformerBlock::forward(const Var& x, ForwardContext& context) { return settle(advance({x}, context)); }

Residual TransformerBlock::advance(Residual x, ForwardContext& context) {
  Residual middle = pass(attention_norm_, attention_, dropout_, std::move(x), context);
  return pass(feed_forward_norm_, feed_forward_, dropout_, std::move(middle), context);
}

Shape TransformerBlock::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  // A sublayer's output is summed into the residual stream, which the next norm keeps: no array beside its own.
  attention_norm_.plan(shape, join_path(prefix, "attention_norm"), lines);
  attention_.plan(shape, join_path(prefix, "attention"), lines);
  feed_forward_norm_.plan(shape, join_path(prefix, "feed_forward_norm"), lines);
  return feed_forward_.plan(shape, join_path(prefix, "feed_forward"), lines);
}

Transformer::Transformer(const TransformerConfig& config, Init init) : config_(config) {
  require_positive("transformer", "vocabulary", config.vocabulary);
  require_positive("transformer", "sequence_length", config.sequence_length);
  require_positive("transformer", "layers", config.layers);
  require_positive("transformer", "hidden", config.hidden);
  require_positive("transformer", "filter", config.filter);
  require_positive("transformer", "heads", config.heads);
  require_dropout_rate("transformer", config.dropout.residual);
  const std::vector<AttentionPatternsPtr> patterns = make_attention_patterns(config, init.random.seed());
  const EmbeddingOptions embedding{.vocabulary = config.vocabulary,
                                   .sequence_length = config.sequence_length,
                                   .features = config.hidden,
                                   .positions = config.positions};
  embedding_ = &add_child<TokenEmbedding>("embedding", embedding, init);
  blocks_ = &add_child<ModuleList<TransformerBlock>>("blocks");
  for (const AttentionPatternsPtr& layer_patterns : patterns) blocks_->append(config, layer_patterns, init);
  norm_ = &add_child<LayerNorm>("norm", config.hidden, init);
  if (!config.tie_embeddings) {
    output_ = &add_child<Linear>("output", config.hidden, config.vocabulary,
                                 LinearOptions{.prunable = false, .deviation = 0.02}, init);
  }
}

Var Transformer::forward(const Var& x, ForwardContext& context) {
  Residual stream{dropout(embedding_->forward(x, context), config_.dropout.residual, context)};
  for (std::size_t i = 0; i < blocks_->size(); ++i) {
    const auto advance = [&block = (*blocks_)[i]](Residual in, ForwardContext& c) {
      return block.advance(std::move(in), c);
    };
    stream = config_.recompute ? forward_recomputed(advance, std::move(stream), context)
                               : advance(std::move(stream), context);
  }
  const Var y = norm_->forward(std::move(stream), context).normalised;
  return output_ ? output_->forward(y, context) : multiply(embedding_->tokens(), y, {}, Activation::none, context);
}

Shape Transformer::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  Shape y = embedding_->plan(shape, join_path(prefix, "embedding"), lines);
  y = plan_blocks(*blocks_, config_.recompute, y, join_path(prefix, "blocks"), lines);
  y = norm_->plan(y, join_path(prefix, "norm"), lines);
  if (output_) return output_->plan(y, join_path(prefix, "output"), lines);
  lines.push_back(plan_multiply(embedding_->tokens(), join_path(prefix, "output"), "linear",
                                join_path(prefix, "embedding.tokens"), y[1]));
  return {config_.vocabulary, y[1]};
}

}  // namespace lacuna
