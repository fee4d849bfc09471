#include "core/ops/half_product.h"

#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/gemm/gemm.h"
#include "kernels/half_product/half_product.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna {

#if LACUNA_HAS_CUDA

namespace {

std::size_t copy_bytes(std::int64_t rows, std::int64_t cols) {
  return static_cast<std::size_t>(rows * kernels::half_ld(cols)) * sizeof(Half);
}

Dense<const Half> copy_view(const Tensor& bytes, std::int64_t rows, std::int64_t cols) {
  return {static_cast<const Half*>(bytes.raw()), rows, cols, kernels::half_ld(cols)};
}

/// What is found on the device and read there.
struct Scalars {
  kernels::HalfLargest largest;
  kernels::HalfAlpha alpha;
};

}  // namespace

bool spmm_in_half(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias,
                  Activation activation) {
  if (!b.device().is_cuda() || b.dtype() != DType::f32) return false;
  bool done = false;
  translate_failures("spmm", [&] {
    const CudaStream stream = cuda_stream(b.device());
    const Csr<const float> a_view = csr_view<const float>(a.values, *a.topology);
    const Dense<const float> b_view = dense_view<const float>(b);
    const Dense<float> c = dense_view<float>(out);
    if (b_view.batch != 1 || a_view.batch != 1 || c.rows == 0 || c.cols == 0 || a_view.cols == 0) return;
    const auto floats = static_cast<std::size_t>(b_view.rows) * sizeof(float);
    const Tensor factors = Tensor::scratch(floats, b.device()), scalars = Tensor::scratch(sizeof(Scalars), b.device());
    const Tensor right = Tensor::scratch(copy_bytes(b_view.rows, b_view.cols), b.device());
    const Tensor left = Tensor::scratch(copy_bytes(a_view.rows, a_view.cols), b.device());
    if (DryRun::active()) {
      done = true;
      return;
    }
    auto* found = static_cast<Scalars*>(scalars.raw());
    auto* by_row = static_cast<float*>(factors.raw());
    kernels::half_rows(stream, b_view, static_cast<Half*>(right.raw()), by_row, a_view.values, a_view.nnz,
                       &found->largest);
    kernels::half_densify(stream, a_view, by_row, &found->largest, static_cast<Half*>(left.raw()), &found->alpha);
    done = kernels::gemm_f16(stream, copy_view(left, a_view.rows, a_view.cols),
                             copy_view(right, b_view.rows, b_view.cols), c, &found->alpha.alpha);
    if (!done || (!bias.defined() && activation == Activation::none)) return;
    kernels::apply_epilogue<float>(stream, {c.data, c.rows, c.cols, c.ld},
                                   {bias.defined() ? bias.data<float>() : nullptr, activation},
                                   {c.data, c.rows, c.cols, c.ld});
  });
  return done;
}

bool sddmm_in_half(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor) {
  if (!a.device().is_cuda() || a.dtype() != DType::f32 || values.dtype() != DType::f32) return false;
  bool done = false;
  translate_failures("sddmm", [&] {
    const CudaStream stream = cuda_stream(a.device());
    const Dense<const float> a_view = dense_view<const float>(a), b_view = dense_view<const float>(b);
    const Csr<float> c = csr_view<float>(values, *pattern);
    if (c.batch != 1 || c.nnz == 0 || a_view.cols == 0) return;
    const Tensor left = Tensor::scratch(copy_bytes(a_view.rows, a_view.cols), a.device());
    const Tensor right = Tensor::scratch(copy_bytes(b_view.rows, b_view.cols), a.device());
    const Dense<const Half> half_a = copy_view(left, a_view.rows, a_view.cols),
                            half_b = copy_view(right, b_view.rows, b_view.cols);
    if (!kernels::sddmm_tiles_supports(stream, half_a, half_b)) return;
    const Tensor factors = Tensor::scratch(static_cast<std::size_t>(c.rows + c.cols) * sizeof(float), a.device());
    const kernels::SddmmTiling tiling = kernels::choose_sddmm_tiling(
        c.rows, c.cols, a_view.cols, c.nnz, 1, stream.multiprocessors > 0 ? stream.multiprocessors : 132,
        kernels::SddmmMath::half);
    const Tensor scratch = Tensor::scratch(kernels::sddmm_tiles_scratch_bytes(c, tiling), a.device());
    const Tensor& plan = pattern->sddmm_plan();
    done = true;
    if (DryRun::active()) return;
    auto* by_row = static_cast<float*>(factors.raw());
    kernels::half_rows(stream, a_view, static_cast<Half*>(left.raw()), by_row);
    kernels::half_rows(stream, b_view, static_cast<Half*>(right.raw()), by_row + c.rows);
    kernels::sddmm_tiles<Half, float>(stream, half_a, half_b, c, static_cast<float>(factor), kernels::SddmmMath::half,
                                      tiling, plan.raw(), scratch.raw(), {by_row, by_row + c.rows});
  });
  return done;
}

#else

bool spmm_in_half(const Tensor&, const SparseTensor&, const Tensor&, const Tensor&, Activation) { return false; }
bool sddmm_in_half(const Tensor&, const Tensor&, const Tensor&, const TopologyPtr&, double) { return false; }

#endif

}  // namespace lacuna
