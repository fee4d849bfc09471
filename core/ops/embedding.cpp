#include "core/ops/embedding.h"

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/embedding/embedding.h"

namespace lacuna {
namespace {

void check_embedding(const Tensor& table, const Tensor& tokens) {
  const char* op = "embedding";
  require_rank(op, "table", table, 2);
  require_rank(op, "tokens", tokens, 1);
  require_dtype(op, "tokens", tokens, DType::i32);
  require_same_device(op, "table", table, "tokens", tokens);
  if (!tokens.device().is_cpu()) return;  // reading the tokens would make the host wait for the device
  const std::int32_t* data = tokens.data<std::int32_t>();
  const std::int64_t bad = kernels::find_out_of_range(CpuStream{}, data, tokens.numel(), 0, table.dim(0));
  if (bad >= 0) {
    throw IndexError(op, "token " + std::to_string(data[bad]) + " at position " + std::to_string(bad) +
                             "; tokens must lie in [0, " + std::to_string(table.dim(0)) + ")");
  }
}

/// Gradient of the table, [vocab, d], from dout [d, n].
Tensor embedding_gradient(const Tensor& dout, const Tensor& tokens, std::int64_t vocab) {
  const OpScope scope("embedding_gradient");
  const std::int64_t d = dout.dim(0), n = dout.dim(1);
  const Tensor dtable = Tensor::empty({vocab, d}, dout.dtype(), dout.device());
  const Tensor scratch = scratch_for("embedding_gradient", dout, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::embedding_gradient_scratch_bytes<T>(stream, Dense<const T>{dout.data<T>(), d, n, n}, vocab);
  });
  visit_float("embedding_gradient", dout, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Dense<const T> view{dout.data<T>(), d, n, n};
    kernels::embedding_gradient<T>(stream, view, tokens.data<std::int32_t>(), Dense<T>{dtable.data<T>(), vocab, d, d},
                                   scratch.raw());
  });
  return dtable;
}

}  // namespace

Tensor embedding(const Tensor& table, const Tensor& tokens) {
  const OpScope scope("embedding");
  check_embedding(table, tokens);
  const std::int64_t vocab = table.dim(0), d = table.dim(1), n = tokens.numel();
  const Tensor out = Tensor::empty({d, n}, table.dtype(), table.device());
  visit_float("embedding", table, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::embedding<T>(stream, Dense<const T>{table.data<T>(), vocab, d, d}, tokens.data<std::int32_t>(),
                          Dense<T>{out.data<T>(), d, n, n});
  });
  return out;
}

Var embedding(const Var& table, const Tensor& tokens) {
  return record("embedding", embedding(table.data(), tokens), {table},
                [tokens, vocab = table.shape()[0]](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return embedding_gradient(dc, tokens, vocab); });
  });
}

}  // namespace lacuna
