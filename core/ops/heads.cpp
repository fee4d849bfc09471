#include "core/ops/heads.h"

#include "core/ops/reduce.h"
#include "core/ops/row_parameter.h"
#include "core/visit.h"
#include "kernels/permute/permute.h"

namespace lacuna {
namespace {

struct Sizes {
  std::int64_t heads, batch, t, d;
  // Block (head, sequence) in the feature-major matrix [heads*d, b*t] and in the token-major one [heads*b, t, d].
  kernels::BlockLayout feature_major() const { return {batch * t, d * batch * t, t}; }
  kernels::BlockLayout token_major() const { return {d, batch * t * d, t * d}; }
};

void permute(const char* op, const kernels::BlockGrid& grid, const Tensor& x, const kernels::BlockLayout& x_layout,
             const Tensor& y, const kernels::BlockLayout& y_layout, const Tensor& row_bias = {}) {
  visit_activation(op, x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::transpose_blocks<T>(stream, grid, x.data<T>(), x_layout, y.data<T>(), y_layout,
                                 row_bias.defined() ? row_bias.data<kernels::wide_t<T>>() : nullptr);
  });
}

[[noreturn]] void fail(const char* op, const Tensor& x, std::int64_t batch, std::int64_t heads, const char* rule) {
  throw ShapeError(op, "x is " + describe(x) + ", batch " + std::to_string(batch) + ", heads " + std::to_string(heads) +
                           "; " + rule);
}

}  // namespace

Tensor split_heads(const Tensor& x, std::int64_t batch, std::int64_t heads) {
  return split_heads(x, Tensor(), batch, heads);
}

Tensor split_heads(const Tensor& x, const Tensor& bias, std::int64_t batch, std::int64_t heads) {
  const OpScope scope("split_heads");
  require_rank("split_heads", "x", x, 2);
  if (bias.defined()) require_row_parameter("split_heads", "bias", bias, x);
  if (heads < 1 || batch < 1 || x.dim(0) % heads != 0 || x.dim(1) % batch != 0)
    fail("split_heads", x, batch, heads, "heads must divide the rows and batch the columns");
  const Sizes sizes{heads, batch, x.dim(1) / batch, x.dim(0) / heads};
  const Tensor y = Tensor::empty({heads * batch, sizes.t, sizes.d}, x.dtype(), x.device());
  permute("split_heads", {heads, batch, sizes.d, sizes.t}, x, sizes.feature_major(), y, sizes.token_major(), bias);
  return y;
}

Var split_heads(const Var& x, const Var& bias, std::int64_t batch, std::int64_t heads) {
  const Tensor y = split_heads(x.data(), bias.defined() ? bias.data() : Tensor(), batch, heads);
  return record("split_heads", y, {x, bias}, [batch, heads](const Tensor& dy, Grads& grads) {
    const Tensor dx = merge_heads(dy, batch, heads);
    grads.add(0, dx);
    grads.add(1, [&] { return sum_columns(dx); });
  });
}

Var split_heads(const Var& x, std::int64_t batch, std::int64_t heads) {
  return record("split_heads", split_heads(x.data(), batch, heads), {x}, [batch, heads](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] { return merge_heads(dy, batch, heads); });
  });
}

void merge_heads_into(const Tensor& y, const Tensor& x, std::int64_t batch, std::int64_t heads) {
  const OpScope scope("merge_heads");
  require_rank("merge_heads", "x", x, 3);
  if (heads < 1 || batch < 1 || x.dim(0) != heads * batch)
    fail("merge_heads", x, batch, heads, "the first extent must be heads * batch");
  const Sizes sizes{heads, batch, x.dim(1), x.dim(2)};
  require_same_device_and_dtype("merge_heads", "y", y, "x", x);
  if (!(y.shape() == Shape{heads * sizes.d, batch * sizes.t}))
    throw ShapeError("merge_heads", describe_pair("y", y, "x", x) + "; y must be [heads * d, batch * t]");
  permute("merge_heads", {heads, batch, sizes.t, sizes.d}, x, sizes.token_major(), y, sizes.feature_major());
}

Tensor merge_heads(const Tensor& x, std::int64_t batch, std::int64_t heads) {
  require_rank("merge_heads", "x", x, 3);
  if (heads < 1 || batch < 1 || x.dim(0) != heads * batch)
    fail("merge_heads", x, batch, heads, "the first extent must be heads * batch");
  const Tensor y = Tensor::empty({heads * x.dim(2), batch * x.dim(1)}, x.dtype(), x.device());
  merge_heads_into(y, x, batch, heads);
  return y;
}

Var merge_heads(const Var& x, std::int64_t batch, std::int64_t heads) {
  return record("merge_heads", merge_heads(x.data(), batch, heads), {x}, [batch, heads](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] { return split_heads(dy, batch, heads); });
  });
}

Tensor transpose(const Tensor& x) {
  const OpScope scope("transpose");
  require_rank("transpose", "x", x, 2);
  const Tensor y = Tensor::empty({x.dim(1), x.dim(0)}, x.dtype(), x.device());
  permute("transpose", {1, 1, x.dim(0), x.dim(1)}, x, {x.dim(1)}, y, {x.dim(0)});
  return y;
}

Var transpose(const Var& x) {
  return record("transpose", transpose(x.data()), {x}, [](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] { return transpose(dy); });
  });
}

}  // namespace lacuna
