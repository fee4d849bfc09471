#include "layers/attention.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <vector>

#include "core/errors.h"
#include "core/ops/heads.h"
#include "core/ops/matmul.h"
#include "core/ops/project_heads.h"
#include "core/ops/softmax.h"
#include "core/ops/sparse_attention.h"
#include "layers/dropout.h"
#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

SelfAttention::SelfAttention(AttentionOptions options, Init init)
    : options_(std::move(options)),
      scale_(1.0 / std::sqrt(static_cast<double>(options_.features) / static_cast<double>(options_.heads))),
      query_(add_child<Linear>("query", options_.features, options_.features, LinearOptions{}, init)),
      key_(add_child<Linear>("key", options_.features, options_.features, LinearOptions{}, init)),
      value_(add_child<Linear>("value", options_.features, options_.features, LinearOptions{}, init)),
      output_(add_child<Linear>("output", options_.features, options_.features,
                                LinearOptions{.deviation = options_.output_deviation}, init)) {
  require_positive("attention", "heads", options_.heads);
  require_positive("attention", "sequence_length", options_.sequence_length);
  require_dropout_rate("attention", options_.dropout);
  if (options_.features % options_.heads != 0) {
    throw ValueError("attention", fmt::format("{} features on {} heads; heads must divide features", options_.features,
                                              options_.heads));
  }
  if (!options_.patterns) return;
  const auto count = static_cast<std::int64_t>(options_.patterns->topologies().size());
  if (count != 1 && count != options_.heads) {
    throw ValueError("attention",
                     fmt::format("{} patterns for {} heads; must be 1 or one per head", count, options_.heads));
  }
  if (options_.patterns->sequence_length() != options_.sequence_length) {
    throw ValueError("attention", fmt::format("patterns of {} tokens; the sequence length is {}",
                                              options_.patterns->sequence_length(), options_.sequence_length));
  }
}

std::int64_t SelfAttention::batch(const Shape& shape) const {
  return require_batch("attention", shape, options_.features, options_.sequence_length, "sequences");
}

Var SelfAttention::forward(const Var& x, ForwardContext& context) { return output_.forward(mix(x, context), context); }

Pending SelfAttention::pending(const Var& x, double dropout, ForwardContext& context) {
  return pending_output(output_, mix(x, context), dropout, context);
}

SelfAttention::Projected SelfAttention::project(const Var& x, std::int64_t num_sequences, ForwardContext& context) {
  Linear* const projections[] = {&query_, &key_, &value_};
  const auto is_dense = [](Linear* l) { return !l->weight().is_sparse(); };
  // In bf16 dense weights are copied for the product anyway: into one matrix, and one product does for all three.
  if (context.bf16 && std::all_of(std::begin(projections), std::end(projections), is_dense)) {
    std::vector<HeadProjection> all;
    for (Linear* l : projections) all.push_back({context.use(l->weight()), l->bias(context)});
    const std::vector<Var> heads = project_heads(all, context.operand(x), num_sequences, options_.heads);
    return {heads[0], heads[1], heads[2]};
  }
  const auto one = [&](Linear& l) {
    // [heads * batch, t, d / heads]; the bias is added where each number is moved anyway.
    return split_heads(l.product(x, context), l.bias(context), num_sequences, options_.heads);
  };
  Projected result;  // one after the other: their order on the tape is part of the bits
  result.q = one(query_);
  result.k = one(key_);
  result.v = one(value_);
  return result;
}

Var SelfAttention::mix(const Var& x, ForwardContext& context) {
  const std::int64_t num_sequences = batch(x.shape());
  const auto [q, k, v] = project(x, num_sequences, context);
  Var mixed;
  if (options_.patterns || is_fused(q.data().device(), q.data().dtype())) {
    const double p = context.training ? options_.dropout : 0.0;
    const RandomKey key = p > 0 ? next_key("attention", context) : RandomKey{};
    mixed = options_.patterns
                ? sparse_attention(q, k, v, options_.patterns->topologies(), options_.heads, scale_, p, key)
                : causal_attention(q, k, v, options_.heads, scale_, p, key);
  } else {
    mixed = materialised(q, k, v, context);
  }
  return merge_heads(mixed, num_sequences, options_.heads);
}

Var SelfAttention::materialised(const Var& q, const Var& k, const Var& v, ForwardContext& context) const {
  // One variable, so that each [heads * batch, t, t] array dies as soon as the next exists, where the tape lets it.
  Var scores = matmul(q, k, false, /*transpose_b=*/true);
  scores = softmax(scores, scale_, /*causal=*/true);
  scores = dropout(scores, options_.dropout, context);
  return matmul(scores, v);
}

bool SelfAttention::is_fused(Device device, DType dtype) const {
  if (options_.dense != DenseAttention::automatic) return options_.dense == DenseAttention::fused;
  return attention_is_fused(device, dtype, options_.sequence_length, options_.features / options_.heads);
}

Shape SelfAttention::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  const auto num_sequences = static_cast<double>(batch(shape));
  const auto t = static_cast<double>(options_.sequence_length);
  const auto heads = static_cast<double>(options_.heads);
  const double head_width = static_cast<double>(options_.features) / heads;
  const std::size_t first = lines.size();
  query_.plan(shape, join_path(prefix, "query"), lines);
  key_.plan(shape, join_path(prefix, "key"), lines);
  value_.plan(shape, join_path(prefix, "value"), lines);
  // Each projection is followed by its token-major copy, which is the one kept.
  for (std::size_t i = first; i < lines.size(); ++i) lines[i].activation_bytes = activation_bytes_of(shape.numel());

  LayerPlan scores{.name = join_path(prefix, "scores"), .columns = shape[1]};
  // Q K^T and P V, two operations per multiply-add each. In memory, dense attention computes the whole t x t square.
  const double per_score = 2.0 * 2.0 * head_width * num_sequences;
  const double square = heads * t * t;
  const Tensor& weight = query_.weight().value();
  const bool fused = !options_.patterns && is_fused(weight.device(), weight.dtype());
  const double entries = options_.patterns ? static_cast<double>(options_.patterns->entries(options_.heads))
                         : fused           ? heads * t * (t + 1) / 2
                                           : square;
  scores.kind = options_.patterns ? "sparse_attention" : "attention";
  scores.dense_flops = per_score * square;
  scores.flops = per_score * entries;
  // Dense keeps the probabilities and, under dropout, the dropped copy too; fused, one number a query. The result lives
  // on feature-major.
  const double kept = !options_.patterns && options_.dropout > 0 ? 2.0 : 1.0;
  scores.activation_bytes =
      4.0 * (fused ? heads * t : kept * entries) * num_sequences + activation_bytes_of(shape.numel());
  lines.push_back(scores);
  return output_.plan(shape, join_path(prefix, "output"), lines);
}

void SelfAttention::add_topologies(std::vector<TopologyPtr>& all) const {
  if (options_.patterns)
    all.insert(all.end(), options_.patterns->topologies().begin(), options_.patterns->topologies().end());
}

void SelfAttention::on_move(Device device) {
  if (options_.patterns) options_.patterns->to(device);
}

}  // namespace lacuna
