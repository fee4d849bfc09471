// SelfAttention: multi-head causal self-attention, dense (scores materialised) or on sparse patterns.
//
// d: features.   t: tokens of a sequence.   Activations are [d, batch * t]; inside a head token-major, [t, d / heads].
#pragma once

#include <cstdint>

#include "layers/attention_patterns.h"
#include "layers/residual.h"

namespace lacuna {

/// How dense attention is computed; the ways differ in their dropout masks.
enum class DenseAttention : std::uint8_t {
  automatic,     ///< fused where one kernel does it without scores in memory (core/ops/sparse_attention.h), else not
  fused,         ///< causal_attention everywhere
  materialised,  ///< the scores of all pairs in memory
};

struct AttentionOptions {
  std::int64_t features = 0;
  std::int64_t heads = 1;
  std::int64_t sequence_length = 0;
  double dropout = 0;             ///< on the probabilities
  double output_deviation = 0;    ///< of the output projection's initial weights; 0: Linear's own
  AttentionPatternsPtr patterns;  ///< null: dense causal; else 1 pattern for every head, or one per head
  DenseAttention dense = DenseAttention::automatic;  ///< without patterns
};

/// softmax(Q K^T / sqrt(d / heads)) V per head, projected back. A query sees itself and keys before it.
/// Children: query, key, value, output (Linear [d, d], prunable, with bias).
///   x  [d, batch * t]      returns the same shape
/// In memory, dense attention keeps the probabilities, [heads * batch, t, t]; fused, one number a query; sparse, one
/// per pattern entry, or fused one a query.
/// Throws ShapeError when columns are not whole sequences, ValueError when heads do not divide features, or patterns do
/// not fit heads and sequence length.
class SelfAttention : public Module {
 public:
  SelfAttention(AttentionOptions options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  /// The same for a residual stream: projected back, with the output's bias and `dropout` left to the addition.
  Pending pending(const Var& x, double dropout, ForwardContext& context);
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 protected:
  void on_move(Device device) override;
  void add_topologies(std::vector<TopologyPtr>& all) const override;

 private:
  std::int64_t batch(const Shape& shape) const;
  struct Projected {
    Var q, k, v;  // [heads * batch, t, d / heads]
  };
  Projected project(const Var& x, std::int64_t num_sequences, ForwardContext& context);
  Var mix(const Var& x, ForwardContext& context);  // all but the output projection
  Var materialised(const Var& q, const Var& k, const Var& v, ForwardContext& context) const;
  bool is_fused(Device device, DType dtype) const;  // dense attention of this layer

  AttentionOptions options_;
  double scale_;  // 1 / sqrt(features of a head)
  Linear& query_;
  Linear& key_;
  Linear& value_;
  Linear& output_;
};

}  // namespace lacuna
