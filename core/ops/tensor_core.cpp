#include "core/ops/tensor_core.h"

#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna {

#if LACUNA_HAS_CUDA

namespace {

constexpr std::int64_t kMaxBatch = 65535;  // a grid's third extent: partial sums are added matrix by matrix

}  // namespace

bool spmm_on_tensor_cores(const Tensor& out, const SparseTensor& a, const Tensor& b, const Tensor& bias,
                          Activation activation) {
  if (!b.device().is_cuda() || b.dtype() != DType::f32) return false;
  bool done = false;
  translate_failures("spmm", [&] {
    const CudaStream stream = cuda_stream(b.device());
    const Topology& pattern = *a.topology;
    const Dense<const float> b_view = dense_view<const float>(b);
    const Dense<float> out_view = dense_view<float>(out);
    // Before a plan is made for nothing, or one that would not fit its 32-bit offsets.
    const auto sizes = kernels::spmm_tensor_plan_sizes(pattern.rows(), pattern.cols(), pattern.nnz());
    if (!kernels::spmm_tensor_supports(stream, sizes, b_view, out_view)) return;
    const kernels::SpmmTensorPlan& plan = pattern.spmm_tensor_plan();
    const Tensor packed = Tensor::scratch(kernels::spmm_tensor_packed_bytes(plan), b.device());
    done = true;
    if (DryRun::active()) return;
    kernels::spmm_tensor_pack(stream, plan, pattern.row_offsets().data<std::int32_t>(), a.values.data<float>(),
                              packed.raw());
    kernels::spmm_tensor(stream, plan, packed.raw(), b_view, out_view,
                         {bias.defined() ? bias.data<float>() : nullptr, activation});
  });
  return done;
}

bool sddmm_on_tensor_cores(const Tensor& values, const Tensor& a, const Tensor& b, const TopologyPtr& pattern,
                           double factor) {
  if (!a.device().is_cuda() || a.dtype() != DType::f32) return false;
  bool done = false;
  translate_failures("sddmm", [&] {
    const CudaStream stream = cuda_stream(a.device());
    const Dense<const float> a_view = dense_view<const float>(a), b_view = dense_view<const float>(b);
    const Csr<float> c = csr_view<float>(values, *pattern);
    if (!kernels::sddmm_tiles_supports(stream, a_view, b_view) || c.batch > kMaxBatch || c.nnz == 0) return;
    const kernels::SddmmMath math = stream.allow_tf32 ? kernels::SddmmMath::tf32 : kernels::SddmmMath::split_tf32;
    const kernels::SddmmTiling tiling = kernels::choose_sddmm_tiling(
        c.rows, c.cols, a_view.cols, c.nnz, c.batch, stream.multiprocessors > 0 ? stream.multiprocessors : 132, math);
    const Tensor scratch = Tensor::scratch(kernels::sddmm_tiles_scratch_bytes(c, tiling), a.device());
    const Tensor& plan = pattern->sddmm_plan();
    done = true;
    if (DryRun::active()) return;
    kernels::sddmm_tiles<float, float>(stream, a_view, b_view, c, static_cast<float>(factor), math, tiling, plan.raw(),
                                       scratch.raw());
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
