// This library's kernels: "lacuna" calls them directly, "lacuna_auto" through the op that chooses between them and dense
// math, as layers do; "lacuna_causal" is dense causal attention, where the pattern is just that.
#include <array>

#include "app/bench/contender.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/sparse_views.h"
#include "core/ops/spmm.h"
#include "core/var.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm.h"
#include "kernels/spmm/spmm.h"

namespace lacuna::bench {

namespace {

bool stores_f32(const Problem& p) { return p.precision != Precision::bf16; }

auto on(Op op) {
  return [op](const Problem& p) { return p.op == op && stores_f32(p); };
}

/// The ops take bf16 as well: they choose a kernel for it, or f32 copies of the operands.
auto on_any_dtype(Op op) {
  return [op](const Problem& p) { return p.op == op; };
}

Tensor scratch_of(std::size_t bytes, Device device) {
  return Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
}

void run_spmm(const Tensor& c, const SparseTensor& a, const Tensor& b, const Tensor& scratch) {
  visit_float("spmm", b, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::spmm<T>(stream, csr_view<const T>(a.values, *a.topology, true), dense_view<const T>(b), dense_view<T>(c),
                     {}, scratch.raw());
  });
}

Tensor spmm_scratch(const SparseTensor& a, const Tensor& b) {
  std::size_t bytes = 0;
  visit_float("spmm", b, [&](auto stream, auto zero) {
    using T = decltype(zero);
    bytes =
        kernels::spmm_scratch_bytes<T>(stream, csr_view<const T>(a.values, *a.topology, true), dense_view<const T>(b));
  });
  return scratch_of(bytes, b.device());
}

Prepared prepare_spmm(const Problem& p) {
  const Tensor scratch = spmm_scratch({p.operand(0, 0), p.topology(0)}, p.operand(1, 0));
  return {[&p, scratch](int call) {
    const Tensor c = p.result(call);
    run_spmm(c, {p.operand(0, call), p.topology(call)}, p.operand(1, call), scratch);
    return c;
  }};
}

/// The values are gathered into the transpose's order in each call: they change from step to step, the pattern does not.
Prepared prepare_transposed(const Problem& p) {
  const Tensor scratch = spmm_scratch(transpose({p.operand(0, 0), p.topology(0)}), p.operand(1, 0));
  return {[&p, scratch](int call) {
    const Tensor c = p.result(call);
    run_spmm(c, transpose({p.operand(0, call), p.topology(call)}), p.operand(1, call), scratch);
    return c;
  }};
}

void run_sddmm(CpuStream stream, const Dense<const float>& a, const Dense<const float>& b, const Csr<float>& c,
               float scale, void* scratch) {
  kernels::sddmm<float>(stream, a, b, c, scale, scratch);
}
#if LACUNA_HAS_CUDA
void run_sddmm(CudaStream stream, const Dense<const float>& a, const Dense<const float>& b, const Csr<float>& c,
               float scale, void*) {
  kernels::sddmm<float>(stream, a, b, c, scale);
}
#endif

void run_sddmm(const Tensor& values, const TopologyPtr& topology, const Tensor& a, const Tensor& b,
               const Tensor& scratch) {
  visit_float("sddmm", a, [&](auto stream, auto zero) {
    if constexpr (std::is_same_v<decltype(zero), float>) {
      run_sddmm(stream, dense_view<const float>(a), dense_view<const float>(b),
                csr_view<float>(values, *topology, true), 1.0f, scratch.raw());
    }
  });
}

Tensor sddmm_scratch(const Tensor& values, const TopologyPtr& topology, const Tensor& a, const Tensor& b) {
  if (!a.device().is_cpu()) return scratch_of(0, a.device());
  return scratch_of(kernels::sddmm_scratch_bytes<float>(CpuStream{}, dense_view<const float>(a),
                                                        dense_view<const float>(b), csr_view<float>(values, *topology)),
                    kCpu);
}

Prepared prepare_sddmm(const Problem& p) {
  const Tensor scratch = sddmm_scratch(p.result(0), p.topology(0), p.operand(0, 0), p.operand(1, 0));
  return {[&p, scratch](int call) {
    const Tensor values = p.result(call);
    run_sddmm(values, p.topology(call), p.operand(0, call), p.operand(1, call), scratch);
    return values;
  }};
}

Prepared prepare_softmax(const Problem& p) {
  return {[&p](int call) {
    const Tensor out = p.result(call);
    sparse_softmax_into(out, {p.operand(0, call), p.topology(call)}, p.scale);
    return out;
  }};
}

Prepared prepare_softmax_backward(const Problem& p) {
  return {[&p](int call) {
    const Tensor ds = p.result(call);
    sparse_softmax_backward_into(ds, {p.operand(0, call), p.topology(call)}, p.operand(1, call), p.scale);
    return ds;
  }};
}

/// Three kernels with the scores, [b, nnz], in memory between them.
Prepared prepare_unfused_attention(const Problem& p) {
  const Tensor scores = Tensor::empty({p.batch, p.nnz}, DType::f32, p.device);
  const Tensor first = sddmm_scratch(scores, p.topology(0), p.operand(0, 0), p.operand(1, 0));
  const Tensor last = spmm_scratch({scores, p.topology(0)}, p.operand(2, 0));
  return {[&p, scores, first, last](int call) {
    const Tensor out = p.result(call);
    const SparseTensor s{scores, p.topology(call)};
    run_sddmm(scores, s.topology, p.operand(0, call), p.operand(1, call), first);
    sparse_softmax_into(scores, s, p.scale);
    run_spmm(out, s, p.operand(2, call), last);
    return out;
  }};
}

/// Whether the pattern is every key up to the query: then dense causal attention is the same function.
bool is_causal(const Problem& p) {
  if (!is_attention(p.op) || p.nnz != p.m * (p.m + 1) / 2) return false;
  const std::int32_t *offsets = p.pattern->row_offsets().data<std::int32_t>(),
                     *columns = p.pattern->col_indices().data<std::int32_t>();
  for (std::int64_t i = 0; i < p.m; ++i)
    if (offsets[i + 1] - offsets[i] != i + 1 || columns[offsets[i + 1] - 1] != i) return false;
  return true;
}

/// The op that layers call, on tensors or on the tape.
template <class X>
X attend(const Problem& p, int call, bool causal, const X& q, const X& k, const X& v) {
  if (causal) return causal_attention(q, k, v, p.batch, p.scale);
  return sparse_attention(q, k, v, {p.topology(call)}, p.batch, p.scale);
}

Prepared prepare_attention(const Problem& p, bool causal) {
  return {[&p, causal](int call) {
    return attend(p, call, causal, p.operand(0, call), p.operand(1, call), p.operand(2, call));
  }};
}

std::array<Tensor, 3> attention_gradients(const Problem& p, int call, bool causal) {
  const Var q(p.operand(0, call), true), k(p.operand(1, call), true), v(p.operand(2, call), true);
  backward(attend(p, call, causal, q, k, v), p.operand(3, call));
  return {q.grad(), k.grad(), v.grad()};
}

/// Forward and backward through the tape, as training runs them.
Prepared prepare_training(const Problem& p, bool causal) {
  return {.run = [&p, causal](int call) { return attention_gradients(p, call, causal)[0]; },
          .extract = [&p, causal](const Tensor&, int call) {  // again, all three: equal bits are a promise
            const Tensor all = p.result(call);
            const auto gradients = attention_gradients(p, call, causal);
            for (std::int64_t i = 0; i < 3; ++i) all.slice(i, i + 1).copy_from(gradients[static_cast<std::size_t>(i)]);
            return all;
          }};
}

}  // namespace

void add_lacuna(std::vector<Contender>& list) {
  list.push_back({"lacuna", Kind::ours, on(Op::spmm), prepare_spmm});
  list.push_back({"lacuna", Kind::ours, on(Op::spmm_transposed), prepare_transposed});
  list.push_back({"lacuna", Kind::ours, on(Op::sddmm), prepare_sddmm});
  list.push_back({"lacuna", Kind::ours, on(Op::sparse_softmax), prepare_softmax});
  list.push_back({"lacuna", Kind::ours, on(Op::sparse_softmax_backward), prepare_softmax_backward});
  list.push_back({"lacuna_unfused", Kind::ours, on(Op::attention), prepare_unfused_attention});
  for (const bool causal : {false, true}) {  // the pattern's plan; no pattern at all, where every earlier key is in it
    const auto takes = [causal](Op op) {
      return [op, causal](const Problem& p) { return p.op == op && (!causal || is_causal(p)); };
    };
    const char* name = causal ? "lacuna_causal" : "lacuna_auto";
    list.push_back(
        {name, Kind::ours, takes(Op::attention), [causal](const Problem& p) { return prepare_attention(p, causal); }});
    list.push_back({name, Kind::ours, takes(Op::attention_training),
                    [causal](const Problem& p) { return prepare_training(p, causal); }});
  }

  list.push_back(
      {"lacuna_auto", Kind::ours, on_any_dtype(Op::spmm), [](const Problem& p) -> Prepared {
         return {[&p](int call) { return spmm({p.operand(0, call), p.topology(call)}, p.operand(1, call)); }};
       }});
  list.push_back({"lacuna_auto", Kind::ours, on_any_dtype(Op::spmm_transposed), [](const Problem& p) -> Prepared {
                    return {[&p](int call) {
                      return spmm_transposed({p.operand(0, call), p.topology(call)}, p.operand(1, call));
                    }};
                  }});
  list.push_back(
      {"lacuna_auto", Kind::ours, on_any_dtype(Op::sddmm), [](const Problem& p) -> Prepared {
         return {[&p](int call) { return sddmm(p.operand(0, call), p.operand(1, call), p.topology(call)).values; }};
       }});
}

}  // namespace lacuna::bench
