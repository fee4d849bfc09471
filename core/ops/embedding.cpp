#include "core/ops/embedding.h"

#include "core/ops/checks.h"
#include "core/ops/dropout.h"
#include "core/ops/matmul.h"
#include "core/visit.h"
#include "kernels/embedding/embedding.h"
#include "kernels/sequence_embedding/sequence_embedding.h"

namespace lacuna {
namespace {

void check_embedding(const char* op, const Tensor& table, const Tensor& tokens) {
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

void check_table_dtype(const char* op, const char* name, const Tensor& table, DType dtype) {
  if (table.dtype() == accumulator_of(dtype)) return;
  throw DtypeError(op, std::string(name) + " is " + describe(table) + ", its columns are to be " + to_string(dtype) +
                           "; the table must be " + to_string(accumulator_of(dtype)));
}

/// Whether a table's gradient is a product with the tokens' one-hot matrix: on tensor cores that is less work than sorting
/// the tokens, as long as the matrix is small beside dout.
bool sums_by_product(const Tensor& dout, std::int64_t vocab) {
  constexpr std::int64_t kMostTokens = 1024, kUnit = 8;  // 16 bytes of bf16
  const auto whole = [](std::int64_t size) { return size > 0 && size % kUnit == 0; };
  return dout.device().is_cuda() && dout.dtype() == DType::bf16 && vocab <= kMostTokens && whole(vocab) &&
         whole(dout.dim(0)) && whole(dout.dim(1));
}

/// [vocab, n]: 1 where tokens[j] is the row.
Tensor one_hot(const Tensor& tokens, std::int64_t vocab, DType dtype) {
  const Tensor hot = Tensor::empty({vocab, tokens.numel()}, dtype, tokens.device());
  visit_activation("one_hot", hot, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::one_hot<T>(stream, tokens.data<std::int32_t>(), vocab, tokens.numel(), hot.data<T>());
  });
  return hot;
}

/// Gradient of the table, [vocab, d], from dout [d, n].
Tensor embedding_gradient(const Tensor& dout, const Tensor& tokens, std::int64_t vocab) {
  const OpScope scope("embedding_gradient");
  const std::int64_t d = dout.dim(0), n = dout.dim(1);
  if (sums_by_product(dout, vocab)) return matmul_wide(one_hot(tokens, vocab, dout.dtype()), dout, false, true);
  const Tensor dtable = Tensor::empty({vocab, d}, accumulator_of(dout.dtype()), dout.device());
  const Tensor scratch = activation_scratch_for("embedding_gradient", dout, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::embedding_gradient_scratch_bytes<T>(stream, Dense<const T>{dout.data<T>(), d, n, n}, vocab);
  });
  visit_activation("embedding_gradient", dout, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Dense<const T> view{dout.data<T>(), d, n, n};
    kernels::embedding_gradient<T>(stream, view, tokens.data<std::int32_t>(),
                                   Dense<acc_t<T>>{dtable.data<acc_t<T>>(), vocab, d, d}, scratch.raw());
  });
  return dtable;
}

}  // namespace

Tensor embedding(const Tensor& table, const Tensor& tokens, DType dtype) {
  const OpScope scope("embedding");
  check_embedding("embedding", table, tokens);
  check_table_dtype("embedding", "table", table, dtype);
  const std::int64_t vocab = table.dim(0), d = table.dim(1), n = tokens.numel();
  const Tensor out = Tensor::empty({d, n}, dtype, table.device());
  visit_activation("embedding", out, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::embedding<T>(stream, Dense<const acc_t<T>>{table.data<acc_t<T>>(), vocab, d, d},
                          tokens.data<std::int32_t>(), Dense<T>{out.data<T>(), d, n, n});
  });
  return out;
}

Tensor embedding(const Tensor& table, const Tensor& tokens) {
  require_defined("embedding", "table", table);
  return embedding(table, tokens, table.dtype());
}

Var embedding(const Var& table, const Tensor& tokens, DType dtype) {
  return record("embedding", embedding(table.data(), tokens, dtype), {table},
                [tokens, vocab = table.shape()[0]](const Tensor& dc, Grads& grads) {
                  grads.add(0, [&] { return embedding_gradient(dc, tokens, vocab); });
                });
}

Var embedding(const Var& table, const Tensor& tokens) { return embedding(table, tokens, table.data().dtype()); }

Tensor sequence_embedding(const Tensor& table, const Tensor& tokens, const Tensor& positions, DType dtype, double p,
                          RandomKey key) {
  const char* op = "sequence_embedding";
  const OpScope scope(op);
  check_embedding(op, table, tokens);
  check_table_dtype(op, "table", table, dtype);
  require_rank(op, "positions", positions, 2);
  require_same_device_and_dtype(op, "table", table, "positions", positions);
  const std::int64_t vocab = table.dim(0), d = table.dim(1), n = tokens.numel(), length = positions.dim(0);
  if (positions.dim(1) != d)
    throw ShapeError(op, describe_pair("table", table, "positions", positions) + "; their columns must agree");
  if (length == 0 ? n > 0 : n % length != 0)
    throw ShapeError(op, describe_pair("tokens", tokens, "positions", positions) + "; tokens must be whole sequences");
  if (!(p >= 0 && p < 1)) throw ValueError(op, "p is " + std::to_string(p) + "; it must be in [0, 1)");
  const Tensor out = Tensor::empty({d, n}, dtype, table.device());
  visit_activation(op, out, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = acc_t<T>;
    kernels::sequence_embedding<T>(stream, {.vocab = vocab,
                                            .length = length,
                                            .d = d,
                                            .n = n,
                                            .table = table.data<A>(),
                                            .tokens = tokens.data<std::int32_t>(),
                                            .positions = positions.data<A>(),
                                            .dropout = kernels::dropout_rule(p, key.seed, key.sequence),
                                            .out = out.data<T>()});
  });
  return out;
}

Var sequence_embedding(const Var& table, const Tensor& tokens, const Var& positions, DType dtype, double p,
                       RandomKey key) {
  const auto vjp = [tokens, vocab = table.shape()[0], length = positions.shape()[0], p, key](const Tensor& dout,
                                                                                             Grads& grads) {
    const std::int64_t d = dout.dim(0), n = dout.dim(1);
    if (!grads.wants(1)) {
      grads.add(0, [&] { return embedding_gradient(dropout(dout, p, key), tokens, vocab); });
      return;
    }
    const Tensor dpositions = Tensor::empty({length, d}, accumulator_of(dout.dtype()), dout.device());
    const bool apart = p > 0 && grads.wants(0);  // else dout is the sum's gradient, or nobody asks for it
    const Tensor dsum = apart ? reuse_or_empty(dout) : dout;
    visit_activation("sequence_embedding", dout, [&](auto stream, auto zero) {
      using T = decltype(zero);
      kernels::sequence_embedding_gradient<T>(stream, {.length = length,
                                                       .d = d,
                                                       .n = n,
                                                       .dout = dout.data<T>(),
                                                       .dropout = kernels::dropout_rule(p, key.seed, key.sequence),
                                                       .dsum = apart ? dsum.data<T>() : nullptr,
                                                       .dpositions = dpositions.data<acc_t<T>>()});
    });
    grads.add(0, [&] { return embedding_gradient(dsum, tokens, vocab); });
    grads.add(1, dpositions);
  };
  return record("sequence_embedding", sequence_embedding(table.data(), tokens, positions.data(), dtype, p, key),
                {table, positions}, vjp);
}

}  // namespace lacuna
