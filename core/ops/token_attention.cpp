#include "core/ops/token_attention.h"

#include <fmt/format.h>

#include "core/ops/attention_plans.h"
#include "core/ops/checks.h"
#include "core/ops/heads.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/sparse_views.h"
#include "core/record_pair.h"
#include "core/visit.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "token_attention";

struct Attention {
  std::vector<TopologyPtr> patterns;  ///< none: causal
  std::int64_t batch = 1;
  std::int64_t heads = 1;
  double scale = 1;
  double dropout_p = 0;
  RandomKey key;

  std::int64_t t(const Tensor& rows) const { return rows.dim(0) / batch; }
  std::int64_t d(const Tensor& qkv) const { return qkv.dim(1) / (3 * heads); }
};

void check(const Tensor& qkv, const Attention& attention, bool causal) {
  require_rank(kOp, "qkv", qkv, 2);
  const auto [patterns, batch, heads, scale, p, key] = attention;
  if (batch < 1 || heads < 1 || qkv.dim(0) % batch != 0 || qkv.dim(1) % (3 * heads) != 0) {
    throw ShapeError(kOp, fmt::format("qkv is {}, batch {}, heads {}; must be [batch * t, 3 * heads * d]",
                                      describe(qkv), batch, heads));
  }
  if (!(p >= 0 && p < 1)) throw ValueError(kOp, fmt::format("dropout_p is {}; must be in [0, 1)", p));
  if (causal) return;
  if (patterns.size() != 1 && static_cast<std::int64_t>(patterns.size()) != heads)
    throw ValueError(kOp,
                     fmt::format("{} patterns for {} heads; must be one, or one per head", patterns.size(), heads));
  const std::int64_t t = attention.t(qkv);
  for (const TopologyPtr& pattern : patterns) {
    require_pattern(kOp, pattern, qkv);
    if (pattern->rows() != t || pattern->cols() != t)
      throw ShapeError(kOp, fmt::format("qkv is {}, batch {}, a pattern is [{}, {}]; must be [{}, {}]", describe(qkv),
                                        batch, pattern->rows(), pattern->cols(), t, t));
  }
}

#if LACUNA_HAS_CUDA
kernels::AttentionProblem problem_of(const Tensor& qkv, const Attention& attention) {
  const auto patterns = attention.patterns.empty() ? 1 : static_cast<std::int64_t>(attention.patterns.size());
  const std::int64_t matrices = attention.heads * attention.batch, t = attention.t(qkv), d = attention.d(qkv);
  const std::int64_t width = attention.heads * d;
  return {.matrices = matrices,
          .matrices_per_pattern = matrices / patterns,
          .t = t,
          .d = d,
          .scale = attention.scale,
          .causal = attention.patterns.empty(),
          .dropout_p = attention.dropout_p,
          .seed = attention.key.seed,
          .sequence = attention.key.sequence,
          .sequences = attention.batch,
          .in = {.row = 3 * width, .head = d, .sequence = t * 3 * width},
          .out = {.row = width, .head = d, .sequence = t * width}};
}

/// Calls f(T{}) with what x holds.
template <class F>
void with_element(const Tensor& x, F&& f) {
  if (x.dtype() == DType::bf16) return f(Bf16{});
  f(float{});
}
#endif

/// lse [heads * batch, t].
void forward_fused([[maybe_unused]] const Tensor& out, [[maybe_unused]] const Tensor& lse,
                   [[maybe_unused]] const Tensor& qkv, [[maybe_unused]] const Attention& attention) {
#if LACUNA_HAS_CUDA
  translate_failures(kOp, [&] {
    const auto plans = attention_plans(attention.patterns, qkv.dtype(), attention.d(qkv), false);
    if (DryRun::active()) return;
    with_element(qkv, [&](auto zero) {
      using T = decltype(zero);
      const T* q = qkv.data<T>();
      const std::int64_t width = out.dim(1);
      kernels::sparse_attention_forward<T>(cuda_stream(qkv.device()), problem_of(qkv, attention), plans, q, q + width,
                                           q + 2 * width, out.data<T>(), lse.data<float>());
    });
  });
#endif
}

struct Saved {
  Attention attention;
  Tensor qkv, out, lse;
};

void backward_fused([[maybe_unused]] const Tensor& dqkv, [[maybe_unused]] const Saved& saved,
                    [[maybe_unused]] const Tensor& dout) {
#if LACUNA_HAS_CUDA
  const Attention& attention = saved.attention;
  translate_failures(kOp, [&] {
    const kernels::AttentionProblem problem = problem_of(dqkv, attention);
    const auto rows = attention_plans(attention.patterns, dqkv.dtype(), problem.d, false);
    const auto columns = attention_plans(attention.patterns, dqkv.dtype(), problem.d, true);
    const CudaStream stream = cuda_stream(dqkv.device());
    with_element(dqkv, [&](auto zero) {
      using T = decltype(zero);
      const Tensor scratch = Tensor::scratch(
          kernels::sparse_attention_backward_scratch_bytes<T>(stream, problem, columns), dqkv.device());
      if (DryRun::active()) return;
      const T* q = saved.qkv.data<T>();
      T* dq = dqkv.data<T>();
      const std::int64_t width = dout.dim(1);
      kernels::sparse_attention_backward<T>(stream, problem, rows, columns, q, q + width, q + 2 * width,
                                            saved.out.data<T>(), saved.lse.data<float>(), dout.data<T>(), dq,
                                            dq + width, dq + 2 * width, scratch.raw());
    });
  });
#endif
}

Var record_fused(const Var& qkv, Attention attention) {
  const OpScope scope(kOp);
  const Tensor& x = qkv.data();
  const std::int64_t t = attention.t(x);
  const Tensor out = Tensor::empty({x.dim(0), x.dim(1) / 3}, x.dtype(), x.device());
  const Tensor lse = Tensor::empty({attention.heads * attention.batch, t}, DType::f32, x.device());
  forward_fused(out, lse, x, attention);
  return record(kOp, out, {qkv}, [saved = Saved{std::move(attention), x, out, lse}](const Tensor& dout, Grads& grads) {
    const OpScope gradient_scope("token_attention gradient");
    const Tensor dqkv = Tensor::empty_like(saved.qkv);
    backward_fused(dqkv, saved, dout);
    grads.add(0, dqkv);
  });
}

/// q, k, v of rows of tokens as [heads * batch, t, d] each, by way of the whole transposed.
std::vector<Var> split(const Var& qkv, std::int64_t batch, std::int64_t heads) {
  const std::int64_t n = qkv.shape()[0], width = qkv.shape()[1] / 3;
  std::vector<Tensor> parts;
  {
    const Tensor turned = transpose(qkv.data());
    for (std::int64_t i = 0; i < 3; ++i)
      parts.push_back(split_heads(turned.slice(i * width, (i + 1) * width), batch, heads));
  }
  return record_many(kOp, std::move(parts), {qkv}, [=](std::vector<Tensor>& dy, Grads& grads) {
    Tensor turned;
    for (const Tensor& one : dy)
      if (!turned.defined() && one.defined()) turned = Tensor::empty({3 * width, n}, one.dtype(), one.device());
    for (std::int64_t i = 0; i < 3; ++i) {
      Tensor& one = dy[static_cast<std::size_t>(i)];
      const Tensor rows = turned.slice(i * width, (i + 1) * width);
      if (one.defined())
        merge_heads_into(rows, one, batch, heads);
      else
        rows.zero();
      one = Tensor();  // used up
    }
    grads.add(0, [&] { return transpose(turned); });
  });
}

}  // namespace

bool fuses_token_attention(Device device, DType dtype, std::int64_t batch, std::int64_t t, std::int64_t d) {
  return batch <= kernels::kMostAttentionSequences && attention_is_fused(device, dtype, t, d);
}

Var token_attention(const Var& qkv, const std::vector<TopologyPtr>& patterns, std::int64_t batch, std::int64_t heads,
                    double scale, double dropout_p, RandomKey key) {
  Attention attention{patterns, batch, heads, scale, dropout_p, key};
  const Tensor& x = qkv.data();
  check(x, attention, false);
  if (fuses_token_attention(x.device(), x.dtype(), batch, attention.t(x), attention.d(x)))
    return record_fused(qkv, std::move(attention));
  const std::vector<Var> parts = split(qkv, batch, heads);
  const Var mixed = sparse_attention(parts[0], parts[1], parts[2], patterns, heads, scale, dropout_p, key);
  return transpose(merge_heads(mixed, batch, heads));
}

Var causal_token_attention(const Var& qkv, std::int64_t batch, std::int64_t heads, double scale, double dropout_p,
                           RandomKey key) {
  Attention attention{{}, batch, heads, scale, dropout_p, key};
  const Tensor& x = qkv.data();
  check(x, attention, true);
  if (fuses_token_attention(x.device(), x.dtype(), batch, attention.t(x), attention.d(x)))
    return record_fused(qkv, std::move(attention));
  const std::vector<Var> parts = split(qkv, batch, heads);
  const Var mixed = causal_attention(parts[0], parts[1], parts[2], heads, scale, dropout_p, key);
  return transpose(merge_heads(mixed, batch, heads));
}

}  // namespace lacuna
