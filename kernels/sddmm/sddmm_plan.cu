// The plan of a pattern. Columns ascend within a row, so that a row's entries in 64 columns are one run of CSR: the first
// entry at each edge says all, and an entry's place in CSR is its place in the plan.
#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

namespace {

constexpr int kEdges = 4;  // column edges of a block; a row and an edge a thread

__global__ void __launch_bounds__(kEdges* kCell) sddmm_plan_kernel(const Pattern pattern, const SddmmPlan plan) {
  __shared__ unsigned occupied[kEdges * 2];
  const int thread_row = threadIdx.x % kCell;
  const std::int64_t row = std::int64_t{blockIdx.x} * kCell + thread_row;
  const std::int64_t edge = std::int64_t{blockIdx.y} * kEdges + threadIdx.x / kCell;
  const std::int64_t first_column = edge * kCell;
  bool here = false;
  if (row < pattern.rows && edge <= plan.cell_cols) {
    int low = pattern.row_offsets[row];
    const int end = pattern.row_offsets[row + 1];
    for (int high = end; low < high;) {
      const int middle = low + (high - low) / 2;
      if (pattern.col_indices[middle] < first_column)
        low = middle + 1;
      else
        high = middle;
    }
    const_cast<std::int32_t*>(plan.segments)[edge * pattern.rows + row] = low;
    here = low < end && pattern.col_indices[low] < first_column + kCell;
  }
  const unsigned any = __ballot_sync(0xffffffffu, here);
  if (threadIdx.x % 32 == 0) occupied[threadIdx.x / 32] = any;
  __syncthreads();
  if (thread_row == 0 && edge < plan.cell_cols) {
    const int warp = threadIdx.x / 32;
    const_cast<std::uint8_t*>(plan.cells)[blockIdx.x * plan.cell_cols + edge] =
        (occupied[warp] | occupied[warp + 1]) != 0;
  }
}

}  // namespace

std::size_t sddmm_plan_bytes(std::int64_t rows, std::int64_t cols) {
  const std::int64_t cell_rows = (rows + kCell - 1) / kCell, cell_cols = (cols + kCell - 1) / kCell;
  return static_cast<std::size_t>((cell_cols + 1) * rows * 4 + cell_rows * cell_cols);
}

void sddmm_plan(CudaStream stream, const Pattern& pattern, void* plan) {
  const SddmmPlan view = sddmm_plan_view(plan, pattern.rows, pattern.cols);
  if (pattern.rows == 0) return;
  const auto edges = static_cast<unsigned>((view.cell_cols + 1 + kEdges - 1) / kEdges);
  sddmm_plan_kernel<<<dim3(static_cast<unsigned>(view.cell_rows), edges), kEdges * kCell, 0,
                      static_cast<cudaStream_t>(stream.handle)>>>(pattern, view);
  LACUNA_CUDA_LAUNCHED("sddmm_plan");
}

}  // namespace lacuna::kernels
