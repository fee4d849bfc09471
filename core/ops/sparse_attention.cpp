#include "core/ops/sparse_attention.h"

#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/ops/dropout.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/sparse_views.h"
#include "core/ops/spmm.h"

namespace lacuna {

namespace {

struct Attention {
  std::vector<TopologyPtr> patterns;
  double scale = 1;
  double dropout_p = 0;
  RandomKey key;

  /// Matrices [t, d] that share pattern g lie side by side: all of them, or one head's batch.
  Tensor group(const Tensor& x, std::size_t g) const {
    const std::int64_t size = x.dim(0) / static_cast<std::int64_t>(patterns.size());
    return x.slice(static_cast<std::int64_t>(g) * size, static_cast<std::int64_t>(g + 1) * size);
  }
  /// Dropout of values over pattern g. Keys of a training run leave the top bits of the sequence free.
  Tensor drop(const Tensor& values, std::size_t g) const {
    if (dropout_p == 0) return values;
    return dropout(values, dropout_p, RandomKey{key.seed, key.sequence.with(static_cast<std::uint64_t>(g) << 48)});
  }
};

void check(const Tensor& q, const Tensor& k, const Tensor& v, const Attention& attention, std::int64_t heads) {
  const char* op = "sparse_attention";
  require_rank(op, "q", q, 3);
  require_same_shape(op, "q", q, "k", k);
  require_same_shape(op, "q", q, "v", v);
  if (heads < 1 || q.dim(0) % heads != 0) {
    throw ShapeError(op,
                     fmt::format("q is {} with {} heads; its first extent must be heads * batch", describe(q), heads));
  }
  if (attention.patterns.size() != 1 && static_cast<std::int64_t>(attention.patterns.size()) != heads) {
    throw ValueError(
        op, fmt::format("{} patterns for {} heads; must be one, or one per head", attention.patterns.size(), heads));
  }
  for (const TopologyPtr& pattern : attention.patterns) {
    require_pattern(op, pattern, q);
    if (pattern->rows() != q.dim(1) || pattern->cols() != q.dim(1)) {
      throw ShapeError(op, fmt::format("q is {}, a pattern is [{}, {}]; must be [{}, {}]", describe(q), pattern->rows(),
                                       pattern->cols(), q.dim(1), q.dim(1)));
    }
  }
  if (!(attention.dropout_p >= 0 && attention.dropout_p < 1)) {
    throw ValueError(op, fmt::format("dropout_p is {}; must be in [0, 1)", attention.dropout_p));
  }
}

Tensor scores_over(const Tensor& a, const Tensor& b, const TopologyPtr& pattern) { return sddmm(a, b, pattern).values; }

/// out = s b, into a slice of the result.
void multiply_into(const Tensor& out, const SparseTensor& s, const Tensor& b) {
  spmm_into(out, s, b, choose_spmm(spmm_problem(s, b)).route);
}

/// Fills `probabilities`, when given, with [batch, nnz] of each pattern, before dropout.
Tensor forward(const Tensor& q, const Tensor& k, const Tensor& v, const Attention& attention,
               std::vector<Tensor>* probabilities) {
  OpScope scope("sparse_attention");
  const Tensor out = Tensor::empty_like(q);
  for (std::size_t g = 0; g < attention.patterns.size(); ++g) {
    const TopologyPtr& pattern = attention.patterns[g];
    const Tensor p = scores_over(attention.group(q, g), attention.group(k, g), pattern);
    sparse_softmax_into(p, {p, pattern}, attention.scale);
    multiply_into(attention.group(out, g), {attention.drop(p, g), pattern}, attention.group(v, g));
    if (probabilities) probabilities->push_back(p);
  }
  return out;
}

struct Saved {
  Attention attention;
  Tensor q, k, v;
  std::vector<Tensor> probabilities;
};

void backward(const Saved& saved, const Tensor& dout, Grads& grads) {
  OpScope scope("sparse_attention_backward");
  const Attention& attention = saved.attention;
  const bool wants_q = grads.wants(0), wants_k = grads.wants(1), wants_v = grads.wants(2);
  const Tensor dq = wants_q ? Tensor::empty_like(dout) : Tensor{};
  const Tensor dk = wants_k ? Tensor::empty_like(dout) : Tensor{};
  const Tensor dv = wants_v ? Tensor::empty_like(dout) : Tensor{};
  for (std::size_t g = 0; g < attention.patterns.size(); ++g) {
    const TopologyPtr& pattern = attention.patterns[g];
    const SparseTensor p{saved.probabilities[g], pattern};
    const Tensor d = attention.group(dout, g);
    if (wants_v)
      multiply_into(attention.group(dv, g), transpose(SparseTensor{attention.drop(p.values, g), pattern}), d);
    if (!wants_q && !wants_k) continue;
    const Tensor dp = attention.drop(scores_over(d, attention.group(saved.v, g), pattern), g);
    sparse_softmax_backward_into(dp, p, dp, attention.scale);  // dp is now the gradient of the unscaled scores
    const SparseTensor ds{dp, pattern};
    if (wants_q) multiply_into(attention.group(dq, g), ds, attention.group(saved.k, g));
    if (wants_k) multiply_into(attention.group(dk, g), transpose(ds), attention.group(saved.q, g));
  }
  if (wants_q) grads.add(0, dq);
  if (wants_k) grads.add(1, dk);
  if (wants_v) grads.add(2, dv);
}

}  // namespace

Tensor sparse_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<TopologyPtr>& patterns,
                        std::int64_t heads, double scale, double dropout_p, RandomKey key) {
  const Attention attention{patterns, scale, dropout_p, key};
  check(q, k, v, attention, heads);
  return forward(q, k, v, attention, nullptr);
}

Var sparse_attention(const Var& q, const Var& k, const Var& v, const std::vector<TopologyPtr>& patterns,
                     std::int64_t heads, double scale, double dropout_p, RandomKey key) {
  Saved saved{{patterns, scale, dropout_p, key}, q.data(), k.data(), v.data(), {}};
  check(saved.q, saved.k, saved.v, saved.attention, heads);
  const bool recording = q.requires_grad() || k.requires_grad() || v.requires_grad();
  const Tensor out = forward(saved.q, saved.k, saved.v, saved.attention, recording ? &saved.probabilities : nullptr);
  return record("sparse_attention", out, {q, k, v},
                [saved = std::move(saved)](const Tensor& dout, Grads& grads) { backward(saved, dout, grads); });
}

}  // namespace lacuna
