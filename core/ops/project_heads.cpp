#include "core/ops/project_heads.h"

#include <utility>

#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/heads.h"
#include "core/ops/matmul.h"
#include "core/ops/reduce.h"
#include "core/record_pair.h"

namespace lacuna {
namespace {

constexpr const char* kOp = "project_heads";

void check(const std::vector<HeadProjection>& projections, const Tensor& x) {
  if (projections.empty()) throw ValueError(kOp, "no projections; there must be one at least");
  require_rank(kOp, "x", x, 2);
  const Tensor& first = projections.front().weight.data();
  for (const HeadProjection& projection : projections) {
    const Tensor& w = projection.weight.data();
    require_rank(kOp, "weight", w, 2);
    require_same_device(kOp, "x", x, "weight", w);
    require_same_shape(kOp, "weight", first, "weight", w);
    if (w.dtype() != x.dtype()) require_dtype(kOp, "weight", w, accumulator_of(x.dtype()));
  }
  if (first.dim(1) != x.dim(0))
    throw ShapeError(kOp, describe_pair("weight", first, "x", x) + "; the weight's columns must equal x's rows");
}

/// The weights one above the other, in `dtype`.
Tensor stacked(const std::vector<HeadProjection>& projections, DType dtype) {
  const Tensor& first = projections.front().weight.data();
  const auto count = static_cast<std::int64_t>(projections.size());
  const std::int64_t m = first.dim(0);
  const Tensor all = Tensor::empty({count * m, first.dim(1)}, dtype, first.device());
  for (std::int64_t i = 0; i < count; ++i) {
    const Tensor& w = projections[static_cast<std::size_t>(i)].weight.data();
    const Tensor rows = all.slice(i * m, (i + 1) * m);
    if (w.dtype() == dtype)
      rows.copy_from(w);
    else
      cast_into(rows, w);
  }
  return all;
}

}  // namespace

std::vector<Var> project_heads(const std::vector<HeadProjection>& projections, const Var& x, std::int64_t batch,
                               std::int64_t heads) {
  const OpScope scope(kOp);
  check(projections, x.data());
  const auto count = static_cast<std::int64_t>(projections.size());
  const std::int64_t m = projections.front().weight.shape()[0];
  const Tensor w = stacked(projections, x.data().dtype());
  std::vector<Var> inputs{x};
  std::vector<Tensor> results;
  bool learns = false;  // some weight does
  {
    const Tensor product = matmul(w, x.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto& [weight, bias] = projections[static_cast<std::size_t>(i)];
      const Tensor shift = bias.defined() ? bias.data() : Tensor();
      results.push_back(split_heads(product.slice(i * m, (i + 1) * m), shift, batch, heads));
      inputs.insert(inputs.end(), {weight, bias});
      learns = learns || weight.requires_grad();
    }
  }
  const Tensor kept_w = x.requires_grad() ? w : Tensor();
  Tensor kept_x = learns ? x.data() : Tensor();
  return record_many(
      kOp, std::move(results), std::move(inputs),
      [kept_w, kept_x, count, m, n = x.shape()[1], batch, heads](std::vector<Tensor>& dy, Grads& grads) mutable {
        const OpScope gradient_scope("project_heads gradient");
        Tensor dp;  // of the stacked product
        for (const Tensor& one : dy) {
          if (!dp.defined() && one.defined()) dp = Tensor::empty({count * m, n}, one.dtype(), one.device());
        }
        for (std::int64_t i = 0; i < count; ++i) {
          Tensor& one = dy[static_cast<std::size_t>(i)];
          const Tensor rows = dp.slice(i * m, (i + 1) * m);
          if (one.defined())
            merge_heads_into(rows, one, batch, heads);
          else
            rows.zero();
          one = Tensor();  // used up
        }
        const auto weight_of = [](std::int64_t i) { return static_cast<std::size_t>(1 + 2 * i); };
        const auto bias_of = [](std::int64_t i) { return static_cast<std::size_t>(2 + 2 * i); };
        bool weights = false, biases = false;
        for (std::int64_t i = 0; i < count; ++i)
          weights = weights || grads.wants(weight_of(i)), biases = biases || grads.wants(bias_of(i));
        const Tensor dw = weights ? matmul_wide(dp, kept_x, false, true) : Tensor();
        kept_x = Tensor();  // used up: gone before dx needs its memory
        const Tensor dbias = biases ? sum_columns(dp) : Tensor();
        for (std::int64_t i = 0; i < count; ++i) {
          grads.add(weight_of(i), [&] { return dw.slice(i * m, (i + 1) * m); });
          grads.add(bias_of(i), [&] { return dbias.slice(i * m, (i + 1) * m); });
        }
        grads.add(0, [&] { return matmul(kept_w, dp, true, false); });
      });
}

}  // namespace lacuna
