#include "core/ops/spmm.h"

#include <fmt/format.h>

#include <type_traits>

#include "core/ops/activation_dropout.h"
#include "core/ops/bf16_product.h"
#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/densify.h"
#include "core/ops/half_product.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/sparse_views.h"
#include "core/ops/tensor_core.h"
#include "core/visit.h"
#include "kernels/spmm/spmm.h"
#include "kernels/spmm/spmm_cuda.h"

namespace lacuna {

namespace {

Shape result_shape(const ProductShape& p, const Tensor& b) {
  return b.rank() == 3 ? Shape{p.batch, p.rows, p.other} : Shape{p.rows, p.other};
}

/// Of A B, or of A^T B.
ProductShape product_shape(const SparseTensor& a, const Tensor& b, bool transposed) {
  const Topology& topology = *a.topology;
  return {.device = b.device(),
          .dtype = b.dtype(),
          .precision = matmul_precision(b.device()),
          .rows = transposed ? topology.cols() : topology.rows(),
          .cols = transposed ? topology.rows() : topology.cols(),
          .nnz = topology.nnz(),
          .other = b.dim(-1),
          .batch = b.rank() == 3 ? b.dim(0) : 1,
          .shared_values = a.values.rank() == 1,
          .kernels = allowed_kernels(b.device())};
}

/// Sum over the first axis: [batch, ...] -> [...].
Tensor sum_batch(const Tensor& x) {
  Shape rest;
  for (int axis = 1; axis < x.rank(); ++axis) rest.push_back(x.dim(axis));
  if (x.dim(0) == 0) return Tensor::zeros(rest, x.dtype(), x.device());
  Tensor total = x.slice(0, 1).reshape(rest);
  for (std::int64_t i = 1; i < x.dim(0); ++i) total = add(total, x.slice(i, i + 1).reshape(rest));
  return total;
}

bool takes_densifying(const SparseTensor& a, const Tensor& b, bool transposed) {
  const std::int64_t rows = a.topology->rows(), cols = a.topology->cols();
  return b.dtype() == DType::bf16 && b.device().is_cuda() && b.rank() == 2 && b.dim(0) == (transposed ? rows : cols) &&
         densifying_pays(transposed ? cols : rows, b.dim(0), b.dim(1), a.topology->nnz());
}

/// Densify and a dense product, in one kernel where there is one. The scratch, [m, k] (times the batch), dies here.
Tensor spmm_dense(const SparseTensor& a, const Tensor& b, const Tensor& bias, Activation activation) {
  if (takes_densifying(a, b, false)) {
    const Tensor out = Tensor::empty({a.topology->rows(), b.dim(1)}, b.dtype(), b.device());
    if (spmm_densifying(out, a, b, false, bias, activation)) return out;
  }
  const Tensor scratch = densify(a);
  if (b.rank() == 2) return linear(scratch, b, bias, activation);
  return matmul(scratch, b);
}

void spmm_sparse(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias, Activation activation) {
  const Tensor scratch = scratch_for("spmm", b, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return kernels::spmm_scratch_bytes<T>(stream, csr_view<const T>(a.values, *a.topology, true),
                                          dense_view<const T>(b));
  });
  visit_float("spmm", b, [&](auto stream, auto zero) {
    using T = decltype(zero);
    Csr<const T> a_view = csr_view<const T>(a.values, *a.topology, true);
    const Dense<const T> b_view = dense_view<const T>(b);
    const Epilogue<const T> epilogue{bias.defined() ? bias.data<T>() : nullptr, activation};
#if LACUNA_HAS_CUDA
    if constexpr (std::is_same_v<decltype(stream), CudaStream> && std::is_same_v<T, float>) {
      const kernels::SpmmShape shape = kernels::spmm_shape(stream, a_view, b_view, dense_view<T>(out));
      const bool panels = allowed_kernels(b.device()).spmm_panel && kernels::spmm_panel_supports(stream);
      const kernels::SpmmPlan plan = panels ? kernels::plan_spmm(shape) : kernels::SpmmPlan{};
      if (plan.kernel == kernels::SpmmKernel::panel && plan.split > 1) {
        a_view.row_shares = a.topology->row_shares().template data<std::int32_t>();
        a_view.settled = a.topology->settled();
      }
      return kernels::spmm_with(plan, stream, a_view, b_view, dense_view<T>(out), epilogue);
    }
#endif
    kernels::spmm<T>(stream, a_view, b_view, dense_view<T>(out), epilogue, scratch.raw());
  });
}

/// By the sparse kernel or on tensor cores. bf16 runs on the f32 kernels, between conversions that die here.
void spmm_on_nonzeros(Route route, const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias,
                      Activation activation) {
  if (b.dtype() == DType::bf16) {
    const Tensor wide = Tensor::empty(out.shape(), DType::f32, out.device());
    spmm_on_nonzeros(route, wide, {cast(a.values, DType::f32), a.topology}, cast(b, DType::f32), bias, activation);
    return cast_into(out, wide);
  }
  if (route == Route::tensor && spmm_on_tensor_cores(out, a, b, bias, activation)) return;
  spmm_sparse(out, a, b, bias, activation);
}

/// A batch's bias and activation are fused by the sparse kernel alone.
Route route_of(const ProductShape& problem, const Tensor& b, const Tensor& bias, Activation activation) {
  if (b.rank() == 3 && (bias.defined() || activation != Activation::none)) return Route::sparse;
  return choose_spmm(problem).route;
}

}  // namespace

ProductShape spmm_problem(const SparseTensor& a, const Tensor& b) {
  require_sparse("spmm", "a", a);
  require_same_device_and_dtype("spmm", "a", a.values, "b", b);
  const Topology& topology = *a.topology;
  if ((b.rank() != 2 && b.rank() != 3) || b.dim(-2) != topology.cols()) {
    throw ShapeError("spmm", fmt::format("a is {}, b is {}; b must be [{}, n] or [batch, {}, n]", describe(a),
                                         describe(b), topology.cols(), topology.cols()));
  }
  if (a.values.rank() == 2 && (b.rank() != 3 || b.dim(0) != a.values.dim(0))) {
    throw ShapeError("spmm", fmt::format("a is {}, b is {}; a's batch must be b's", describe(a), describe(b)));
  }
  return product_shape(a, b, false);
}

void spmm_into(const Tensor& out, const SparseTensor& a, const Tensor& b, Route route, const Tensor& bias,
               Activation activation) {
  OpScope scope("spmm");
  const ProductShape problem = spmm_problem(a, b);
  require_same_device_and_dtype("spmm", "out", out, "b", b);
  require_bias("spmm", bias, b, problem.rows);
  if (!(out.shape() == result_shape(problem, b))) {
    throw ShapeError("spmm", fmt::format("out is {}; must be {}", describe(out), to_string(result_shape(problem, b))));
  }
  if (route == Route::half && spmm_in_half(out, a, b, bias, activation)) return;
  if (route == Route::sparse || route == Route::tensor) return spmm_on_nonzeros(route, out, a, b, bias, activation);
  if (b.rank() == 3 && (a.values.rank() == 1 || bias.defined() || activation != Activation::none)) {
    throw ValueError("spmm", "the dense route with a batch takes a batch of values and neither bias nor activation");
  }
  if (takes_densifying(a, b, false) && spmm_densifying(out, a, b, false, bias, activation)) return;
  out.copy_from(spmm_dense(a, b, bias, activation));
}

Tensor spmm(const SparseTensor& a, const Tensor& b, const Tensor& bias, Activation activation) {
  OpScope scope("spmm");
  const ProductShape problem = spmm_problem(a, b);
  require_bias("spmm", bias, b, problem.rows);
  const Route route = route_of(problem, b, bias, activation);
  if (route == Route::dense) return spmm_dense(a, b, bias, activation);
  const Tensor out = Tensor::empty(result_shape(problem, b), b.dtype(), b.device());
  if (route == Route::half) {
    if (spmm_in_half(out, a, b, bias, activation)) return out;
    return spmm_dense(a, b, bias, activation);
  }
  spmm_on_nonzeros(route, out, a, b, bias, activation);
  return out;
}

Tensor spmm_transposed(const SparseTensor& a, const Tensor& b) {
  const OpScope scope("spmm_transposed");
  require_sparse("spmm_transposed", "a", a);
  require_same_device_and_dtype("spmm_transposed", "a", a.values, "b", b);
  if (b.rank() == 2 && a.values.rank() == 1 && choose_spmm(product_shape(a, b, true)).route == Route::dense) {
    if (takes_densifying(a, b, true)) {
      const Tensor out = Tensor::empty({a.topology->cols(), b.dim(1)}, b.dtype(), b.device());
      if (spmm_densifying(out, a, b, true)) return out;
    }
    return matmul(densify(a), b, /*transpose_a=*/true);
  }
  return spmm(transpose(a), b);
}

Var spmm(const SparseVar& a, const Var& b, const Var& bias, Activation kind,
         const std::shared_ptr<GradientPairs>& pairs) {
  const bool grad_a = a.values.requires_grad(), grad_b = b.requires_grad(),
             grad_bias = bias.defined() && bias.requires_grad();
  // gelu's gradient needs its input, which a fused epilogue would not leave behind.
  if (kind == Activation::gelu && (grad_a || grad_b || grad_bias)) {
    if (b.shape().rank() != 2) return gelu(spmm(a, b, bias, Activation::none, pairs));
    require_bias("spmm", bias.defined() ? bias.data() : Tensor(), b.data(), a.topology->rows());
    return activation_dropout(spmm(a, b, {}, Activation::none, pairs), bias, kind, 0, {});
  }

  const Tensor c = spmm(data(a), b.data(), bias.defined() ? bias.data() : Tensor{}, kind);
  // Each operand is kept only for the gradient of the other.
  const SparseTensor kept_a{grad_b ? a.values.data() : Tensor{}, a.topology};
  Tensor kept_b = grad_a ? b.data() : Tensor{};
  Tensor kept_c = kind == Activation::relu ? c : Tensor{};
  const bool shared = a.values.shape().rank() == 1;
  return record("spmm", c, {a.values, b, bias},
                [kept_a, kept_b, kept_c, kind, shared, pairs](const Tensor& dc, Grads& grads) mutable {
                  const bool matrix = dc.rank() == 2;
                  const BiasedGradient biased = activation_bias_gradient(kept_c, dc, kind, matrix && grads.wants(2));
                  const Tensor& dp = biased.dx;
                  kept_c = Tensor();
                  if (pairs && kept_b.defined()) pairs->add(dp, kept_b);
                  grads.add(0, [&] {  // da [nnz]: dC B^T on A's pattern
                    const Tensor da = sddmm_wide(dp, kept_b, kept_a.topology).values;
                    return shared && da.rank() == 2 ? sum_batch(da) : da;
                  });
                  kept_b = Tensor();  // used up: gone before db needs its memory
                  grads.add(1, [&] { return spmm_transposed(kept_a, dp); });  // db: A^T dC
                  grads.add(2, [&] {
                    if (matrix) return biased.dbias;
                    const std::int64_t batch = dp.dim(0), m = dp.dim(1);
                    return sum_batch(sum_columns(dp.reshape({batch * m, dp.dim(2)})).reshape({batch, m}));
                  });
                });
}

}  // namespace lacuna
