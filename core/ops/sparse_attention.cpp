#include "core/ops/sparse_attention.h"

#include <fmt/format.h>

#include "core/kernel_set.h"
#include "core/ops/attention_plans.h"
#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/sparse_views.h"
#include "core/ops/spmm.h"
#include "core/visit.h"
#include "kernels/dropout/pattern_dropout.h"
#include "kernels/sparse_attention/sparse_attention.h"

namespace lacuna {

namespace {

struct Attention {
  std::vector<TopologyPtr> patterns;
  double scale = 1;
  double dropout_p = 0;
  RandomKey key;
  bool causal = false;  ///< every key up to the query; the fused kernels then need no pattern

  /// Matrices [t, d] that share pattern g lie side by side: all of them, or one head's batch.
  Tensor group(const Tensor& x, std::size_t g) const {
    const std::int64_t size = x.dim(0) / static_cast<std::int64_t>(patterns.size());
    return x.slice(static_cast<std::int64_t>(g) * size, static_cast<std::int64_t>(g + 1) * size);
  }
  /// Dropout of values over pattern g. The mask is a function of head, batch, row and column: the fused kernels draw
  /// the same.
  Tensor drop(const Tensor& values, std::size_t g) const {
    if (dropout_p == 0) return values;
    const Tensor out = Tensor::empty_like(values);
    visit_float("sparse_attention", values, [&](auto stream, auto zero) {
      using T = decltype(zero);
      const Csr<const T> x = csr_view<const T>(values, *patterns[g]);
      kernels::pattern_dropout<T>(stream, x, out.data<T>(), dropout_p, key.seed, key.sequence,
                                  static_cast<std::int64_t>(g) * x.batch);
    });
    return out;
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
  if (!attention.causal && attention.patterns.size() != 1 &&
      static_cast<std::int64_t>(attention.patterns.size()) != heads) {
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

/// bf16 as f32, in a copy that dies with the call; anything else as it is. Between q, k, v and the result all is f32.
Tensor wide(const Tensor& x) { return cast(x, accumulator_of(x.dtype())); }

/// out = s b, into a slice of the result; out may be bf16.
void multiply_into(const Tensor& out, const SparseTensor& s, const Tensor& b) {
  if (out.dtype() != b.dtype()) {
    const Tensor product = Tensor::empty(out.shape(), b.dtype(), out.device());
    multiply_into(product, s, b);
    return cast_into(out, product);
  }
  spmm_into(out, s, b, choose_spmm(spmm_problem(s, b)).route);
}

// ---- one kernel for all of it, on CUDA, where d allows
// ---------------------------------------------------------------

/// The kernels' list of windows (of 64 columns or more) has room for this many tokens.
constexpr std::int64_t kMostTokens = 16384 * 64;

bool takes_fused(const Tensor& q) { return attention_is_fused(q.device(), q.dtype(), q.dim(1), q.dim(2)); }

#if LACUNA_HAS_CUDA
/// Calls f(T{}) with what q holds.
template <class F>
void with_element(const Tensor& q, F&& f) {
  if (q.dtype() == DType::bf16) return f(Bf16{});
  f(float{});
}

kernels::AttentionProblem problem_of(const Tensor& q, const Attention& attention) {
  const std::int64_t patterns = attention.causal ? 1 : static_cast<std::int64_t>(attention.patterns.size());
  return {.matrices = q.dim(0),
          .matrices_per_pattern = q.dim(0) / patterns,
          .t = q.dim(1),
          .d = q.dim(2),
          .scale = attention.scale,
          .causal = attention.causal,
          .dropout_p = attention.dropout_p,
          .seed = attention.key.seed,
          .sequence = attention.key.sequence};
}

/// Plans are cached in the patterns, which outlive the call; none for causal attention.
template <class T>
std::vector<kernels::PanelPlan> plans_of(const Attention& attention, std::int64_t d, bool transposed) {
  const int min_cell_tiles = kernels::attention_cell_tiles<T>(d);
  const std::int64_t window = kernels::attention_window<T>(d);
  std::vector<kernels::PanelPlan> plans;
  for (const TopologyPtr& pattern : attention.patterns) {
    const AttentionPlan& of_rows = pattern->attention_plan(window, min_cell_tiles);
    const AttentionPlan& plan = transposed ? pattern->transposed().topology->attention_plan(
                                                 window, min_cell_tiles, min_cell_tiles > 0 ? &of_rows : nullptr)
                                           : of_rows;
    kernels::PanelPlan& view = plans.emplace_back();
    view.tile_offsets = plan.tile_offsets.data<std::int32_t>();
    view.slots = static_cast<const std::uint32_t*>(plan.slots.raw());
    view.block_order = plan.block_order.data<std::int32_t>();
    if (min_cell_tiles == 0) continue;
    view.cell_offsets = plan.cell_offsets.data<std::int32_t>();
    view.cell_windows = plan.cell_windows.data<std::int32_t>();
    view.cell_bits = static_cast<const std::uint32_t*>(plan.cell_bits.raw());
    view.cell_order = plan.cell_order.data<std::int32_t>();
    view.cells = plan.cell_windows.dim(0);
    if (transposed) view.cell_places = plan.cell_places.data<std::int32_t>();
  }
  return plans;
}

#endif

/// lse [heads * batch, t].
Tensor forward_fused([[maybe_unused]] const Tensor& q, [[maybe_unused]] const Tensor& k,
                     [[maybe_unused]] const Tensor& v, [[maybe_unused]] const Attention& attention,
                     [[maybe_unused]] const Tensor& lse) {
  const Tensor out = Tensor::empty_like(q);
#if LACUNA_HAS_CUDA
  OpScope scope("sparse_attention");
  translate_failures("sparse_attention", [&] {
    with_element(q, [&](auto zero) {
      using T = decltype(zero);
      const auto plans = plans_of<T>(attention, q.dim(2), false);
      if (DryRun::active()) return;
      kernels::sparse_attention_forward<T>(cuda_stream(q.device()), problem_of(q, attention), plans, q.data<T>(),
                                           k.data<T>(), v.data<T>(), out.data<T>(), lse.data<float>());
    });
  });
#endif
  return out;
}

/// Logs of the rows' sums: f32, one number for d of q.
Tensor log_sums_of(const Tensor& q) { return Tensor::empty({q.dim(0), q.dim(1)}, DType::f32, q.device()); }

struct SavedFused {
  Attention attention;
  Tensor q, k, v, out, lse;
};

void backward_fused([[maybe_unused]] const SavedFused& saved, [[maybe_unused]] const Tensor& dout,
                    [[maybe_unused]] Grads& grads) {
#if LACUNA_HAS_CUDA
  OpScope scope("sparse_attention_backward");
  Tensor gradients[3];
  for (int i = 0; i < 3; ++i) {
    if (grads.wants(static_cast<std::size_t>(i))) gradients[i] = Tensor::empty_like(dout);
  }
  translate_failures("sparse_attention_backward", [&] {
    with_element(dout, [&](auto zero) {
      using T = decltype(zero);
      const auto address = [](const Tensor& x) { return x.defined() ? x.data<T>() : nullptr; };
      const CudaStream stream = cuda_stream(dout.device());
      const kernels::AttentionProblem problem = problem_of(saved.q, saved.attention);
      std::vector<kernels::PanelPlan> rows, columns;
      if (gradients[0].defined()) rows = plans_of<T>(saved.attention, problem.d, false);
      if (gradients[1].defined() || gradients[2].defined()) columns = plans_of<T>(saved.attention, problem.d, true);
      const bool all = gradients[0].defined() && gradients[1].defined() && gradients[2].defined();
      const Tensor scratch = Tensor::scratch(kernels::sparse_attention_backward_scratch_bytes<T>(
                                                 stream, problem, all ? columns : std::vector<kernels::PanelPlan>{}),
                                             dout.device());
      if (DryRun::active()) return;
      kernels::sparse_attention_backward<T>(stream, problem, rows, columns, saved.q.data<T>(), saved.k.data<T>(),
                                            saved.v.data<T>(), saved.out.data<T>(), saved.lse.data<float>(),
                                            dout.data<T>(), address(gradients[0]), address(gradients[1]),
                                            address(gradients[2]), scratch.raw());
    });
  });
  for (int i = 0; i < 3; ++i) {
    if (gradients[i].defined()) grads.add(static_cast<std::size_t>(i), gradients[i]);
  }
#endif
}

// ---- three kernels with the probabilities between them
// ---------------------------------------------------------------

/// Fills `probabilities`, when given, with [batch, nnz] of each pattern, before dropout, in q's dtype.
Tensor forward(const Tensor& q, const Tensor& k, const Tensor& v, const Attention& attention,
               std::vector<Tensor>* probabilities) {
  OpScope scope("sparse_attention");
  const Tensor out = Tensor::empty_like(q);
  for (std::size_t g = 0; g < attention.patterns.size(); ++g) {
    const TopologyPtr& pattern = attention.patterns[g];
    const Tensor p = scores_over(wide(attention.group(q, g)), wide(attention.group(k, g)), pattern);
    sparse_softmax_into(p, {p, pattern}, attention.scale);
    multiply_into(attention.group(out, g), {attention.drop(p, g), pattern}, wide(attention.group(v, g)));
    if (probabilities) probabilities->push_back(cast(p, q.dtype()));
  }
  return out;
}

struct Saved {
  Attention attention;
  Tensor q, k, v;
  std::vector<Tensor> probabilities;
};

/// Lets go of each pattern's probabilities once they are used.
void backward(Saved& saved, const Tensor& dout, Grads& grads) {
  OpScope scope("sparse_attention_backward");
  const Attention& attention = saved.attention;
  const bool wants_q = grads.wants(0), wants_k = grads.wants(1), wants_v = grads.wants(2);
  const Tensor dq = wants_q ? Tensor::empty_like(dout) : Tensor{};
  const Tensor dk = wants_k ? Tensor::empty_like(dout) : Tensor{};
  const Tensor dv = wants_v ? Tensor::empty_like(dout) : Tensor{};
  for (std::size_t g = 0; g < attention.patterns.size(); ++g) {
    const TopologyPtr& pattern = attention.patterns[g];
    const SparseTensor p{wide(std::move(saved.probabilities[g])), pattern};
    const Tensor d = wide(attention.group(dout, g));
    if (wants_v)
      multiply_into(attention.group(dv, g), transpose(SparseTensor{attention.drop(p.values, g), pattern}), d);
    if (!wants_q && !wants_k) continue;
    const Tensor dp = attention.drop(scores_over(d, wide(attention.group(saved.v, g)), pattern), g);
    sparse_softmax_backward_into(dp, p, dp, attention.scale);  // dp is now the gradient of the unscaled scores
    const SparseTensor ds{dp, pattern};
    if (wants_q) multiply_into(attention.group(dq, g), ds, wide(attention.group(saved.k, g)));
    if (wants_k) multiply_into(attention.group(dk, g), transpose(ds), wide(attention.group(saved.q, g)));
  }
  if (wants_q) grads.add(0, dq);
  if (wants_k) grads.add(1, dk);
  if (wants_v) grads.add(2, dv);
}

void check_causal(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, double dropout_p) {
  check(q, k, v, {{}, 1, dropout_p, {}, true}, heads);
}

/// Keys up to the query, on x's device: what the three kernels need in place of a plan.
TopologyPtr causal_pattern(const Tensor& x) {
  const std::int64_t t = x.dim(1), entries = t * (t + 1) / 2;
  if (entries > INT32_MAX) {
    throw IndexError("causal_attention", fmt::format("{} tokens make {} scores a matrix; without the fused kernel at "
                                                     "most {} have 32-bit indices",
                                                     t, entries, INT32_MAX));
  }
  std::vector<std::int32_t> offsets{0}, columns;
  offsets.reserve(static_cast<std::size_t>(t) + 1);
  columns.reserve(static_cast<std::size_t>(entries));
  for (std::int32_t i = 0; i < t; ++i) {
    for (std::int32_t j = 0; j <= i; ++j) columns.push_back(j);
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
  return std::make_shared<const Topology>(t, t, Tensor::from(offsets, {t + 1}).to(x.device()),
                                          Tensor::from(columns, {entries}).to(x.device()));
}

Var record_fused(const Var& q, const Var& k, const Var& v, Attention attention) {
  const Tensor& x = q.data();
  const Tensor lse = log_sums_of(x);
  const Tensor out = forward_fused(x, k.data(), v.data(), attention, lse);
  return record("sparse_attention", out, {q, k, v},
                [kept = SavedFused{std::move(attention), x, k.data(), v.data(), out, lse}](
                    const Tensor& dout, Grads& grads) { backward_fused(kept, dout, grads); });
}

}  // namespace

bool attention_is_fused(Device device, DType dtype, std::int64_t t, std::int64_t d) {
  return device.is_cuda() && dtype != DType::f64 && kernels::attention_supports(d) && t <= kMostTokens &&
         allowed_kernels(device).fused_attention;
}

#if LACUNA_HAS_CUDA
std::vector<kernels::PanelPlan> attention_plans(const std::vector<TopologyPtr>& patterns, DType dtype, std::int64_t d,
                                                bool transposed) {
  Attention attention;
  attention.patterns = patterns;
  if (dtype == DType::bf16) return plans_of<Bf16>(attention, d, transposed);
  return plans_of<float>(attention, d, transposed);
}
#endif

Tensor sparse_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<TopologyPtr>& patterns,
                        std::int64_t heads, double scale, double dropout_p, RandomKey key) {
  const Attention attention{patterns, scale, dropout_p, key};
  check(q, k, v, attention, heads);
  if (takes_fused(q)) return forward_fused(q, k, v, attention, log_sums_of(q));
  return forward(q, k, v, attention, nullptr);
}

Var sparse_attention(const Var& q, const Var& k, const Var& v, const std::vector<TopologyPtr>& patterns,
                     std::int64_t heads, double scale, double dropout_p, RandomKey key) {
  Saved saved{{patterns, scale, dropout_p, key}, q.data(), k.data(), v.data(), {}};
  check(saved.q, saved.k, saved.v, saved.attention, heads);
  if (takes_fused(saved.q)) return record_fused(q, k, v, std::move(saved.attention));
  const bool recording = q.requires_grad() || k.requires_grad() || v.requires_grad();
  const Tensor out = forward(saved.q, saved.k, saved.v, saved.attention, recording ? &saved.probabilities : nullptr);
  return record("sparse_attention", out, {q, k, v},
                [saved = std::move(saved)](const Tensor& dout, Grads& grads) mutable { backward(saved, dout, grads); });
}

Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, double scale,
                        double dropout_p, RandomKey key) {
  check_causal(q, k, v, heads, dropout_p);
  if (takes_fused(q)) return forward_fused(q, k, v, {{}, scale, dropout_p, key, true}, log_sums_of(q));
  return sparse_attention(q, k, v, {causal_pattern(q)}, heads, scale, dropout_p, key);
}

Var causal_attention(const Var& q, const Var& k, const Var& v, std::int64_t heads, double scale, double dropout_p,
                     RandomKey key) {
  check_causal(q.data(), k.data(), v.data(), heads, dropout_p);
  if (takes_fused(q.data())) return record_fused(q, k, v, {{}, scale, dropout_p, key, true});
  return sparse_attention(q, k, v, {causal_pattern(q.data())}, heads, scale, dropout_p, key);
}

}  // namespace lacuna
