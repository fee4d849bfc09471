#include "core/ops/sddmm.h"

#include <fmt/format.h>

#include "core/dry_run.h"
#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/half_product.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/sparse_views.h"
#include "core/ops/spmm.h"
#include "core/ops/tensor_core.h"
#include "core/visit.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sddmm/sddmm.h"
#include "kernels/sddmm/sddmm_groups.h"
#include "kernels/topology/topology.h"

namespace lacuna {

namespace {

template <class T>
std::size_t scratch_bytes(CpuStream stream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c) {
  return kernels::sddmm_scratch_bytes<T>(stream, a, b, c);
}

template <class T>
void run_kernel(CpuStream stream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale,
                void* scratch) {
  kernels::sddmm<T>(stream, a, b, c, scale, scratch);
}

#if LACUNA_HAS_CUDA
template <class T>
std::size_t scratch_bytes(CudaStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&) {
  return 0;
}

template <class T>
void run_kernel(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale, void*) {
  kernels::sddmm<T>(stream, a, b, c, scale);
}

template <class In, class Out>
void run_groups(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor) {
  const auto* entry_rows = pattern->row_indices().template data<std::int32_t>();
  Csr<Out> c = csr_view<Out>(values, *pattern);
  c.settled = pattern->settled();
  kernels::sddmm_groups<In, Out>(cuda_stream(a.device()), dense_view<const In>(a), dense_view<const In>(b), c,
                                 static_cast<float>(factor), entry_rows);
}
#endif

/// By groups of entries, on CUDA, where that is faster than by rows. False: not done.
bool sddmm_on_groups([[maybe_unused]] const Tensor& values, [[maybe_unused]] const Tensor& a,
                     [[maybe_unused]] const Tensor& b, [[maybe_unused]] const TopologyPtr& pattern,
                     [[maybe_unused]] double factor, [[maybe_unused]] const ProductShape& problem) {
#if LACUNA_HAS_CUDA
  if (!sddmm_by_groups(problem) || (a.dtype() != DType::f32 && a.dtype() != DType::bf16)) return false;
  if (DryRun::active()) return true;
  translate_failures("sddmm", [&] {
    if (a.dtype() == DType::f32) return run_groups<float, float>(values, a, b, pattern, factor);
    if (values.dtype() == DType::f32) return run_groups<Bf16, float>(values, a, b, pattern, factor);
    run_groups<Bf16, Bf16>(values, a, b, pattern, factor);
  });
  return true;
#else
  return false;
#endif
}

/// The whole product, then its entries on the pattern. The product, [m, n] (times the batch), dies here.
void sddmm_dense(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor) {
  const Tensor product = matmul_wide(a, b, false, true);
  visit_float("sddmm", values, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::sample<T>(stream, dense_view<const T>(product), csr_view<T>(values, *pattern));
    if (factor != 1) kernels::scale<T>(stream, values.data<T>(), factor, values.data<T>(), values.numel());
  });
}

Shape result_shape(const ProductShape& p, const Tensor& a) {
  return a.rank() == 3 ? Shape{p.batch, p.nnz} : Shape{p.nnz};
}

}  // namespace

ProductShape sddmm_problem(const Tensor& a, const Tensor& b, const TopologyPtr& pattern) {
  require_same_device_and_dtype("sddmm", "a", a, "b", b);
  require_pattern("sddmm", pattern, a);
  const bool ranks_fit = a.rank() == b.rank() && (a.rank() == 2 || (a.rank() == 3 && a.dim(0) == b.dim(0)));
  if (!ranks_fit || a.dim(-1) != b.dim(-1) || a.dim(-2) != pattern->rows() || b.dim(-2) != pattern->cols()) {
    throw ShapeError(
        "sddmm",
        fmt::format("{}, the pattern is [{}, {}]; must be [{}, k] and [{}, k], or both with a batch in front",
                    describe_pair("a", a, "b", b), pattern->rows(), pattern->cols(), pattern->rows(), pattern->cols()));
  }
  return {.device = a.device(),
          .dtype = a.dtype(),
          .precision = matmul_precision(a.device()),
          .rows = pattern->rows(),
          .cols = pattern->cols(),
          .nnz = pattern->nnz(),
          .other = a.dim(-1),
          .batch = a.rank() == 3 ? a.dim(0) : 1,
          .kernels = allowed_kernels(a.device())};
}

void sddmm_into(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor,
                Route route) {
  OpScope scope("sddmm");
  const ProductShape problem = sddmm_problem(a, b, pattern);
  require_same_device("sddmm", "values", values, "a", a);
  if (values.dtype() != a.dtype()) require_beside("sddmm", "values", values, a);
  if (!(values.shape() == result_shape(problem, a))) {
    throw ShapeError("sddmm",
                     fmt::format("values is {}; must be {}", describe(values), to_string(result_shape(problem, a))));
  }
  if (route == Route::half && sddmm_in_half(values, a, b, pattern, factor)) return;
  if ((route == Route::tensor || route == Route::half) && sddmm_on_tensor_cores(values, a, b, pattern, factor)) return;
  if (route != Route::dense && sddmm_on_groups(values, a, b, pattern, factor, problem)) return;
  if (values.dtype() == DType::bf16) {
    const Tensor wide = Tensor::empty(values.shape(), DType::f32, values.device());
    sddmm_into(wide, a, b, pattern, factor, route == Route::dense ? route : Route::sparse);
    return cast_into(values, wide);
  }
  if (route == Route::dense) return sddmm_dense(values, a, b, pattern, factor);
  if (a.dtype() == DType::bf16)  // by the f32 kernels, from conversions that die here
    return sddmm_into(values, cast(a, DType::f32), cast(b, DType::f32), pattern, factor, Route::sparse);
  const Tensor scratch = scratch_for("sddmm", a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    return scratch_bytes<T>(stream, dense_view<const T>(a), dense_view<const T>(b),
                            csr_view<T>(values, *pattern, true));
  });
  visit_float("sddmm", a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    run_kernel<T>(stream, dense_view<const T>(a), dense_view<const T>(b), csr_view<T>(values, *pattern, true),
                  static_cast<T>(factor), scratch.raw());
  });
}

SparseTensor sddmm(const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor) {
  OpScope scope("sddmm");
  const ProductShape problem = sddmm_problem(a, b, pattern);
  const Tensor values = Tensor::empty(result_shape(problem, a), a.dtype(), a.device());
  sddmm_into(values, a, b, pattern, factor, choose_sddmm(problem).route);
  return {values, pattern};
}

SparseTensor sddmm_wide(const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor) {
  OpScope scope("sddmm");
  const ProductShape problem = sddmm_problem(a, b, pattern);
  const Tensor values = Tensor::empty(result_shape(problem, a), accumulator_of(a.dtype()), a.device());
  sddmm_into(values, a, b, pattern, factor, choose_sddmm(problem).route);
  return {values, pattern};
}

SparseVar sddmm(const Var& a, const Var& b, const TopologyPtr& pattern, double factor) {
  const Tensor values = sddmm(a.data(), b.data(), pattern, factor).values;
  const Tensor kept_a = b.requires_grad() ? a.data() : Tensor{};
  const Tensor kept_b = a.requires_grad() ? b.data() : Tensor{};
  Var result = record("sddmm", values, {a, b}, [kept_a, kept_b, pattern, factor](const Tensor& dc, Grads& grads) {
    const SparseTensor s{factor == 1 ? dc : scale(dc, factor), pattern};
    grads.add(0, [&] { return spmm(s, kept_b); });
    grads.add(1, [&] { return spmm(transpose(s), kept_a); });
  });
  return {result, pattern};
}

}  // namespace lacuna
