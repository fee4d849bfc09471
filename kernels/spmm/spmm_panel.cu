// spmm_with: checks, batches, the tilings of the panel kernel.
#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm/spmm.h"
#include "kernels/spmm/spmm_cuda.h"
#include "kernels/spmm/spmm_direct.h"
#include "kernels/spmm/spmm_panel.cuh"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kMaxBatchBlocks = 65535;

/// Whether 16 bytes can be read at every row's start and end.
template <class T>
bool allows_vectors(const Dense<T>& x, std::int64_t batch) {
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.cols % 4 == 0 && x.ld % 4 == 0 &&
         (batch <= 1 || x.batch_stride % 4 == 0);
}

struct Panel {
  CudaStream stream;
  SpmmOperands problem;
  PanelLaunch launch;
  std::int64_t shared_bytes;
};

template <class S>
void launch_shape(const Panel& x) {
  const std::int64_t column_tiles = (x.problem.n + S::kTile - 1) / S::kTile;
  const std::int64_t blocks = column_tiles * x.launch.row_blocks * x.launch.split;
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(spmm_panel_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         static_cast<int>(kMaxSharedBytes)));
  const dim3 grid(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(x.problem.batch));
  launch_early(x.stream, spmm_panel_kernel<S>, grid, S::kThreads, static_cast<std::size_t>(x.shared_bytes),
               S::kSplit ? static_cast<unsigned>(x.launch.split) : 1, x.problem, x.launch);
}

template <int kTile, int kWarps, bool kSplit>
void launch_tile(const Panel& x, bool vector) {
  if (vector) return launch_shape<PanelShape<kTile, kWarps, true, kSplit>>(x);
  launch_shape<PanelShape<kTile, kWarps, false, kSplit>>(x);
}

/// The tilings that can_run knows.
void launch_plan(const SpmmPlan& plan, const Panel& x, bool vector) {
  if (plan.tile == 128) {
    if (plan.warps == 8) return launch_tile<128, 8, false>(x, vector);
    return launch_tile<128, 16, false>(x, vector);
  }
  if (plan.tile == 64) {
    if (plan.split > 1) return launch_tile<64, 16, true>(x, vector);
    if (plan.warps == 8) return launch_tile<64, 8, false>(x, vector);
    if (plan.warps == 16) return launch_tile<64, 16, false>(x, vector);
    return launch_tile<64, 32, false>(x, vector);
  }
  if (plan.warps == 16)
    return plan.split > 1 ? launch_tile<32, 16, true>(x, vector) : launch_tile<32, 16, false>(x, vector);
  return plan.split > 1 ? launch_tile<32, 32, true>(x, vector) : launch_tile<32, 32, false>(x, vector);
}

}  // namespace

bool spmm_panel_supports(CudaStream) {
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, spmm_panel_kernel<PanelShape<32, 16, true, false>>));
  return attributes.ptxVersion >= 90;  // what it was compiled for, also where the driver made code of older PTX
}

SpmmShape spmm_shape(CudaStream stream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c) {
  return {.m = a.rows,
          .k = a.cols,
          .n = c.cols,
          .nnz = a.nnz,
          .batch = c.batch,
          .multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132};
}

void spmm_with(const SpmmPlan& plan, CudaStream stream, const Csr<const float>& a, const Dense<const float>& b,
               const Dense<float>& c, const Epilogue<const float>& epilogue) {
  if (plan.kernel == SpmmKernel::row) return spmm<float>(stream, a, b, c, epilogue, nullptr);
  if (c.rows == 0 || c.cols == 0 || c.batch == 0) return;
  const SpmmShape shape = spmm_shape(stream, a, b, c);
  if (!can_run(plan, shape) || (plan.kernel == SpmmKernel::panel && plan.split > 1 && a.row_shares == nullptr))
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue), "spmm: no kernel for this plan", false};
  Panel x = {};
  x.stream = stream;
  x.problem = {.row_offsets = a.row_offsets,
               .row_shares = a.row_shares,
               .col_indices = a.col_indices,
               .values = a.values,
               .row_order = a.row_order,
               .b = b.data,
               .c = c.data,
               .bias = epilogue.bias,
               .values_stride = a.values_stride,
               .b_stride = b.batch_stride,
               .c_stride = c.batch_stride,
               .b_ld = b.ld,
               .c_ld = c.ld,
               .m = a.rows,
               .k = static_cast<int>(a.cols),
               .n = static_cast<int>(c.cols),
               .settled = a.settled,
               .activation = epilogue.activation};
  if (plan.kernel == SpmmKernel::panel) {
    x.launch = {.split = plan.split,
                .share = static_cast<int>(panel_share(plan, shape)),
                .row_blocks = plan.row_blocks,
                .rounds = static_cast<int>(panel_rounds(plan, shape))};
    x.shared_bytes = panel_shared_bytes(plan, shape);
  }
  const bool vector = allows_vectors(b, c.batch) && allows_vectors(c, c.batch);
  for (std::int64_t first = 0; first < c.batch; first += kMaxBatchBlocks) {
    x.problem.batch = std::min(c.batch - first, kMaxBatchBlocks);
    if (plan.kernel == SpmmKernel::panel) {
      launch_plan(plan, x, vector);
    } else {
      launch_spmm_direct(stream, plan, x.problem, vector);
    }
    x.problem.values += x.problem.batch * x.problem.values_stride;
    x.problem.b += x.problem.batch * x.problem.b_stride;
    x.problem.c += x.problem.batch * x.problem.c_stride;
  }
}

}  // namespace lacuna::kernels
