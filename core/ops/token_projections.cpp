#include "core/ops/token_projections.h"

#include <utility>

#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/heads.h"
#include "core/ops/kernel_choice.h"
#include "core/ops/matmul.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_views.h"
#include "core/ops/sum_rows.h"
#include "core/visit.h"
#include "kernels/cast/cast_parts.h"
#include "kernels/gemm/gemm.h"
#include "kernels/topology/topology.h"

namespace lacuna {
namespace {

/// A projection's weight as it was given, off the tape.
struct Weight {
  Tensor values;
  TopologyPtr pattern;
  Shape shape() const { return pattern ? Shape{pattern->rows(), pattern->cols()} : values.shape(); }
};

Weight weight_of(const TokenProjection& projection) { return {projection.weight.data(), projection.pattern}; }

void check_weight(const char* op, const Weight& w, const Tensor& x) {
  if (w.pattern) {
    require_sparse(op, "weight", {w.values, w.pattern});
    require_rank(op, "weight's values", w.values, 1);
  } else {
    require_rank(op, "weight", w.values, 2);
  }
  require_same_device(op, "x", x, "weight", w.values);
  if (w.values.dtype() != x.dtype()) require_dtype(op, "weight", w.values, accumulator_of(x.dtype()));
}

std::string describe(const Weight& w) {
  return w.pattern ? describe(SparseTensor{w.values, w.pattern}) : describe(w.values);
}

struct Conversion {
  Tensor to, from;
};

/// Writes each `from` into its `to`; from f32 to bf16 on CUDA by one launch.
void convert(const std::vector<Conversion>& all) {
#if LACUNA_HAS_CUDA
  std::vector<kernels::CastPart> parts;
  const auto flush = [&](Device device) {
    if (!parts.empty())
      translate_failures(
          "cast", [&] { kernels::cast_parts(cuda_stream(device), parts.data(), static_cast<int>(parts.size())); });
    parts.clear();
  };
#endif
  for (const auto& [to, from] : all) {
    if (to.dtype() == from.dtype()) {
      to.copy_from(from);
      continue;
    }
#if LACUNA_HAS_CUDA
    if (to.device().is_cuda() && to.dtype() == DType::bf16 && from.dtype() == DType::f32) {
      if (DryRun::active()) continue;
      parts.push_back({from.data<float>(), to.data<Bf16>(), to.numel()});
      if (parts.size() == kernels::kMostCastParts) flush(to.device());
      continue;
    }
#endif
    cast_into(to, from);
  }
#if LACUNA_HAS_CUDA
  if (!parts.empty()) flush(all.front().to.device());
#endif
}

/// The weights one above the other, in `dtype`; runs `others` beside its own conversions.
Tensor stacked(const std::vector<Weight>& weights, DType dtype, std::vector<Conversion> others = {}) {
  const Shape one = weights.front().shape();
  const auto count = static_cast<std::int64_t>(weights.size());
  const Tensor all = Tensor::empty({count * one[0], one[1]}, dtype, weights.front().values.device());
  std::vector<Tensor> values;  // of sparse ones
  for (std::int64_t i = 0; i < count; ++i) {
    const Weight& w = weights[static_cast<std::size_t>(i)];
    const bool converts = !w.pattern || w.values.dtype() != dtype;
    Tensor to = w.values;
    if (!w.pattern)
      to = all.slice(i * one[0], (i + 1) * one[0]);
    else if (converts)
      to = Tensor::empty(w.values.shape(), dtype, w.values.device());
    if (converts) others.push_back({to, w.values});
    values.push_back(to);
  }
  convert(others);
  for (std::int64_t i = 0; i < count; ++i) {
    const Weight& w = weights[static_cast<std::size_t>(i)];
    if (!w.pattern) continue;
    const Tensor rows = all.slice(i * one[0], (i + 1) * one[0]);
    visit_activation("densify", rows, [&](auto stream, auto zero) {
      using T = decltype(zero);
      kernels::densify<T>(stream, csr_view<const T>(values[static_cast<std::size_t>(i)], *w.pattern),
                          dense_view<T>(rows));
    });
  }
  return all;
}

/// One weight as the product takes it: itself, where it is that already.
Tensor dense(const Weight& w, DType dtype) {
  return !w.pattern && w.values.dtype() == dtype ? w.values : stacked({w}, dtype);
}

/// Room for the biases end to end, in the products' dtype, zeros for those undefined; undefined if none is there. What is
/// to be written there is added to `conversions`.
Tensor joined_bias(const std::vector<TokenProjection>& projections, std::int64_t m, const Tensor& x,
                   std::vector<Conversion>& conversions) {
  bool any = false;
  for (const TokenProjection& projection : projections) any = any || projection.bias.defined();
  if (!any) return {};
  const auto count = static_cast<std::int64_t>(projections.size());
  const DType dtype = x.device().is_cpu() ? accumulator_of(x.dtype()) : x.dtype();
  const Tensor all = Tensor::empty({count * m}, dtype, x.device());
  for (std::int64_t i = 0; i < count; ++i) {
    const Var& bias = projections[static_cast<std::size_t>(i)].bias;
    const Tensor part = all.slice(i * m, (i + 1) * m);
    if (bias.defined())
      conversions.push_back({part, bias.data()});
    else
      part.zero();
  }
  return all;
}

/// x^T w^T + bias along the columns:  x [f, n],  w [r, f],  bias [r] or undefined (joined_bias)  ->  [n, r].
Tensor multiply_to_tokens(const Tensor& x, const Tensor& w, const Tensor& bias) {
  if (x.dtype() == DType::bf16 && x.device().is_cpu())
    return cast(multiply_to_tokens(cast(x, DType::f32), cast(w, DType::f32), bias), DType::bf16);
  const Tensor out = Tensor::empty({x.dim(1), w.dim(0)}, x.dtype(), x.device());
  visit_activation("project_to_tokens", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    if constexpr (!(std::is_same_v<T, Bf16> && std::is_same_v<decltype(stream), CpuStream>)) {
      kernels::gemm_column_bias<T>(stream, dense_view<const T>(x), dense_view<const T>(w), dense_view<T>(out),
                                   /*transpose_a=*/true, /*transpose_b=*/true,
                                   bias.defined() ? bias.data<T>() : nullptr);
    }
  });
  return out;
}

}  // namespace

bool made_dense(const TopologyPtr& pattern, Device device, DType dtype, std::int64_t columns) {
  if (!pattern) return true;
  return choose_spmm({.device = device,
                      .dtype = dtype,
                      .precision = matmul_precision(device),
                      .rows = pattern->rows(),
                      .cols = pattern->cols(),
                      .nnz = pattern->nnz(),
                      .other = columns,
                      .shared_values = true,
                      .kernels = allowed_kernels(device)})
             .route == Route::dense;
}

Var project_to_tokens(const std::vector<TokenProjection>& projections, const Var& x) {
  constexpr const char* kOp = "project_to_tokens";
  const OpScope scope(kOp);
  if (projections.empty()) throw ValueError(kOp, "no projections; there must be one at least");
  require_rank(kOp, "x", x.data(), 2);
  std::vector<Weight> weights;
  std::vector<Var> inputs{x};
  std::vector<std::shared_ptr<GradientPairs>> pairs;
  bool learns = false, all_dense = true;
  for (const TokenProjection& projection : projections) {
    const Weight& w = weights.emplace_back(weight_of(projection));
    check_weight(kOp, w, x.data());
    if (!(w.shape() == weights.front().shape()))
      throw ShapeError(kOp,
                       "weights are " + describe(weights.front()) + " and " + describe(w) + "; must be of one shape");
    if (w.shape()[1] != x.shape()[0])
      throw ShapeError(kOp, "a weight is " + describe(w) + ", x is " + describe(x.data()) +
                                "; the weight's columns must equal x's rows");
    require_bias(kOp, projection.bias.defined() ? projection.bias.data() : Tensor(), x.data(), w.shape()[0]);
    inputs.insert(inputs.end(), {projection.weight, projection.bias});
    pairs.push_back(projection.pairs);
    learns = learns || projection.weight.requires_grad();
    all_dense = all_dense && !w.pattern;
  }
  const std::int64_t m = weights.front().shape()[0];
  std::vector<Conversion> of_bias;
  const Tensor bias = joined_bias(projections, m, x.data(), of_bias);
  const Tensor w = stacked(weights, x.data().dtype(), std::move(of_bias));
  const Tensor out = multiply_to_tokens(x.data(), w, bias);
  const Tensor kept_w = x.requires_grad() && all_dense ? w : Tensor();
  Tensor kept_x = learns ? x.data() : Tensor();
  if (all_dense || !x.requires_grad()) {
    for (Weight& weight : weights) weight.values = Tensor();  // nothing of it is needed
  }
  return record(
      kOp, out, std::move(inputs), [kept_w, kept_x, weights, pairs, m](const Tensor& dp, Grads& grads) mutable {
        const OpScope gradient_scope("project_to_tokens gradient");
        const auto weight_at = [](std::size_t i) { return 1 + 2 * i; };
        const auto bias_at = [](std::size_t i) { return 2 + 2 * i; };
        bool dense_weights = false, biases = false;
        for (std::size_t i = 0; i < weights.size(); ++i) {
          dense_weights = dense_weights || (!weights[i].pattern && grads.wants(weight_at(i)));
          biases = biases || grads.wants(bias_at(i));
        }
        const Tensor dw = dense_weights ? matmul_wide(dp, kept_x, true, true) : Tensor();
        const Tensor dbias = biases ? sum_rows(dp) : Tensor();
        for (std::size_t i = 0; i < weights.size(); ++i) {
          const std::int64_t first = static_cast<std::int64_t>(i) * m;
          if (pairs[i] && weights[i].pattern && kept_x.defined()) {
            // Their readers take features first: a range of columns turned, in a step that grows connections alone.
            const Tensor turned = transpose(dp).slice(first, first + m).clone();
            pairs[i]->add(turned, kept_x);
          }
          grads.add(weight_at(i), [&] {
            if (!weights[i].pattern) return dw.slice(first, first + m);
            return sddmm_wide(SddmmOperand{dp, true, first}, SddmmOperand{kept_x}, weights[i].pattern).values;
          });
          grads.add(bias_at(i), [&] { return dbias.slice(first, first + m); });
        }
        kept_x = Tensor();  // used up: gone before dx needs its memory
        grads.add(0, [&] { return matmul(kept_w.defined() ? kept_w : stacked(weights, dp.dtype()), dp, true, true); });
      });
}

Var project_from_tokens(const TokenProjection& projection, const Var& x) {
  constexpr const char* kOp = "project_from_tokens";
  const OpScope scope(kOp);
  require_rank(kOp, "x", x.data(), 2);
  const Weight weight = weight_of(projection);
  check_weight(kOp, weight, x.data());
  if (weight.shape()[1] != x.shape()[1])
    throw ShapeError(kOp, "the weight is " + describe(weight) + ", x is " + describe(x.data()) +
                              "; the weight's columns must equal x's");
  if (projection.bias.defined()) throw ValueError(kOp, "a bias; it must be added by who takes the result");
  const Tensor w = dense(weight, x.data().dtype());
  const Tensor out = matmul(w, x.data(), false, true);
  const Tensor kept_w = x.requires_grad() && !weight.pattern ? w : Tensor();
  const Weight kept{x.requires_grad() && weight.pattern ? weight.values : Tensor(), weight.pattern};
  Tensor kept_x = projection.weight.requires_grad() ? x.data() : Tensor();
  return record(kOp, out, {x, projection.weight},
                [kept_w, kept, kept_x, pairs = projection.pairs](const Tensor& dz, Grads& grads) mutable {
                  const OpScope gradient_scope("project_from_tokens gradient");
                  if (pairs && kept.pattern && kept_x.defined()) pairs->add(dz, transpose(kept_x));
                  grads.add(1, [&] {
                    if (!kept.pattern) return matmul_wide(dz, kept_x);
                    return sddmm_wide(SddmmOperand{dz}, SddmmOperand{kept_x, true}, kept.pattern).values;
                  });
                  kept_x = Tensor();  // used up: gone before dx needs its memory
                  grads.add(
                      0, [&] { return matmul(dz, kept_w.defined() ? kept_w : dense(kept, dz.dtype()), true, false); });
                });
}

}  // namespace lacuna
