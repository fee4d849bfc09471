#include "core/ops/tensor_core.h"

#include "core/ops/sddmm.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna {

#if LACUNA_HAS_CUDA

namespace {

constexpr std::int64_t kMaxBatch = 65535;  // a grid's third extent: partial sums are added matrix by matrix

template <class In, class Out>
bool sddmm_tiled(const Tensor& values, const Dense<const In>& a, const Dense<const In>& b, const TopologyPtr& pattern,
                 double factor, kernels::SddmmMath math, const kernels::SddmmStorage& storage = {}) {
  const CudaStream stream = cuda_stream(values.device());
  const Csr<Out> c = csr_view<Out>(values, *pattern);
  if (!kernels::sddmm_tiles_supports(stream, a, b, storage) || c.batch > kMaxBatch || c.nnz == 0) return false;
  const kernels::SddmmTiling tiling =
      kernels::choose_sddmm_tiling(c.rows, c.cols, storage.transpose_a ? a.rows : a.cols, c.nnz, c.batch,
                                   stream.multiprocessors > 0 ? stream.multiprocessors : 132, math, nullptr, storage);
  const Tensor scratch = Tensor::scratch(kernels::sddmm_tiles_scratch_bytes(c, tiling), values.device());
  const Tensor& plan = pattern->sddmm_plan();
  if (DryRun::active()) return true;
  kernels::sddmm_tiles<In, Out>(stream, a, b, c, static_cast<float>(factor), math, tiling, plan.raw(), scratch.raw(),
                                {}, storage);
  return true;
}

template <class In, class Out>
bool sddmm_tiled(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern, double factor,
                 kernels::SddmmMath math) {
  return sddmm_tiled<In, Out>(values, dense_view<const In>(a), dense_view<const In>(b), pattern, factor, math);
}

Dense<const Bf16> operand_view(const SddmmOperand& o, std::int64_t rows) {
  if (!o.transposed) return dense_view<const Bf16>(o.x);
  return {.data = o.x.data<Bf16>() + o.first, .rows = o.x.dim(0), .cols = rows, .ld = o.x.dim(1)};
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

bool sddmm_on_tensor_cores(const Tensor& values, const SddmmOperand& a, const SddmmOperand& b,
                           const TopologyPtr& pattern, double factor) {
  bool done = false;
  translate_failures("sddmm", [&] {
    done = sddmm_tiled<Bf16, float>(values, operand_view(a, pattern->rows()), operand_view(b, pattern->cols()), pattern,
                                    factor, kernels::SddmmMath::bf16, {a.transposed, b.transposed});
  });
  return done;
}

#else

bool spmm_on_tensor_cores(const Tensor&, const SparseTensor&, const Tensor&, const Tensor&, Activation) {
  return false;
}
bool sddmm_on_tensor_cores(const Tensor&, const Tensor&, const Tensor&, const TopologyPtr&, double) { return false; }
bool sddmm_on_tensor_cores(const Tensor&, const SddmmOperand&, const SddmmOperand&, const TopologyPtr&, double) {
  return false;
}

#endif

}  // namespace lacuna
