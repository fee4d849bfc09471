#include "core/ops/tensor_core.h"

#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna {

#if LACUNA_HAS_CUDA

namespace {

constexpr std::int64_t kMaxBatch = 65535;  // a grid's third extent: partial sums are added matrix by matrix

template <class In, class Out>
bool sddmm_tiled(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor,
                 kernels::SddmmMath math) {
  const CudaStream stream = cuda_stream(a.device());
  const Dense<const In> a_view = dense_view<const In>(a), b_view = dense_view<const In>(b);
  const Csr<Out> c = csr_view<Out>(values, *pattern);
  if (!kernels::sddmm_tiles_supports(stream, a_view, b_view) || c.batch > kMaxBatch || c.nnz == 0) return false;
  const kernels::SddmmTiling tiling = kernels::choose_sddmm_tiling(
      c.rows, c.cols, a_view.cols, c.nnz, c.batch, stream.multiprocessors > 0 ? stream.multiprocessors : 132, math);
  const Tensor scratch = Tensor::scratch(kernels::sddmm_tiles_scratch_bytes(c, tiling), a.device());
  const Tensor& plan = pattern->sddmm_plan();
  if (DryRun::active()) return true;
  kernels::sddmm_tiles<In, Out>(stream, a_view, b_view, c, static_cast<float>(factor), math, tiling, plan.raw(),
                                scratch.raw());
  return true;
}

}  // namespace

bool spmm_on_tensor_cores(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias,
                          Activation activation) {
  if (!b.device().is_cuda() || b.dtype() != DType::f32) return false;
  bool done = false;
  translate_failures("spmm", [&] {
    const CudaStream stream = cuda_stream(b.device());
    const Csr<const float> a_view = csr_view<const float>(a.values, *a.topology);
    const Dense<const float> b_view = dense_view<const float>(b);
    const Dense<float> out_view = dense_view<float>(out);
    if (!kernels::spmm_tensor_supports(stream, a_view, b_view, out_view)) return;
    done = true;
    if (out_view.rows == 0 || out_view.cols == 0) return;
    const kernels::SpmmTensorTiling tiling = kernels::choose_spmm_tensor_tiling(
        a_view.rows, a_view.cols, b_view.cols, a_view.nnz, stream.multiprocessors > 0 ? stream.multiprocessors : 132);
    const Tensor scratch = Tensor::scratch(kernels::spmm_tensor_scratch_bytes(a_view, b_view), b.device());
    if (DryRun::active()) return;
    kernels::spmm_tensor(stream, a_view, b_view, out_view, {bias.defined() ? bias.data<float>() : nullptr, activation},
                         tiling, scratch.raw());
  });
  return done;
}

bool sddmm_on_tensor_cores(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern,
                           double factor) {
  if (!a.device().is_cuda()) return false;
  bool done = false;
  translate_failures("sddmm", [&] {
    if (a.dtype() == DType::f32) {
      const bool tf32 = cuda_stream(a.device()).allow_tf32;
      done = sddmm_tiled<float, float>(values, a, b, pattern, factor,
                                       tf32 ? kernels::SddmmMath::tf32 : kernels::SddmmMath::split_tf32);
    } else if (a.dtype() == DType::bf16 && values.dtype() == DType::f32) {
      done = sddmm_tiled<Bf16, float>(values, a, b, pattern, factor, kernels::SddmmMath::bf16);
    } else if (a.dtype() == DType::bf16) {
      done = sddmm_tiled<Bf16, Bf16>(values, a, b, pattern, factor, kernels::SddmmMath::bf16);
    }
  });
  return done;
}

#else

bool spmm_on_tensor_cores(const Tensor&, const SparseTensor&, const Tensor&, const Tensor&, Activation) {
  return false;
}
bool sddmm_on_tensor_cores(const Tensor&, const Tensor&, const Tensor&, const TopologyPtr&, double) { return false; }

#endif

}  // namespace lacuna
