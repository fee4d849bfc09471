// The plan of a pattern. Columns ascend within a row, so a row's entries in 256 columns are one run of CSR: where it
// begins is all that a tile needs to read the run's columns. Dense patterns have masks besides (sddmm_tile_masks.cuh).
#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

namespace {

constexpr int kCellsPerBlock = 4;  // beside one another; a row of a cell a thread

__global__ void __launch_bounds__(kCellsPerBlock* kCell)
    sddmm_plan_kernel(const Pattern pattern, const SddmmPlan plan) {
  __shared__ bool occupied[kCellsPerBlock * 2];  // by warp: half a cell
  const int thread_row = threadIdx.x % kCell;
  const std::int64_t row = std::int64_t{blockIdx.x} * kCell + thread_row;
  const std::int64_t cell_col = std::int64_t{blockIdx.y} * kCellsPerBlock + threadIdx.x / kCell;
  const std::int64_t first_column = cell_col * kCell;
  bool any = false;
  if (row < pattern.rows && cell_col < plan.cell_cols) {
    int low = pattern.row_offsets[row];
    const int end = pattern.row_offsets[row + 1];
    for (int high = end; low < high;) {
      const int middle = low + (high - low) / 2;
      if (pattern.col_indices[middle] < first_column)
        low = middle + 1;
      else
        high = middle;
    }
    any = low < end && pattern.col_indices[low] < first_column + kCell;
    if (plan.masks != nullptr) {
      std::uint32_t bits[2] = {0, 0};
      for (int i = low; i < end && pattern.col_indices[i] < first_column + kCell; ++i) {
        const auto c = static_cast<unsigned>(pattern.col_indices[i] - first_column);
        bits[c / 32] |= 1u << (c % 32);
      }
      const std::int64_t block = row / kMaskRows * plan.groups * (kGroup / kMaskCols) + first_column / kMaskCols;
      std::uint32_t* words = plan.masks + (block * kMaskRows + row % kMaskRows) * 4 + first_column % kMaskCols / 32;
      words[0] = bits[0];
      words[1] = bits[1];
    }
    if (first_column % kGroup == 0) plan.starts[first_column / kGroup * pattern.rows + row] = low;
  }
  const bool some = __any_sync(0xffffffffu, any);
  if (threadIdx.x % 32 == 0) occupied[threadIdx.x / 32] = some;
  __syncthreads();
  if (thread_row == 0 && cell_col < plan.cell_cols) {
    const int warp = threadIdx.x / 32;
    plan.cells[blockIdx.x * plan.cell_cols + cell_col] = occupied[warp] || occupied[warp + 1];
  }
}

}  // namespace

std::size_t sddmm_plan_bytes(std::int64_t rows, std::int64_t cols, std::int64_t nnz) {
  return sddmm_plan_view(nullptr, rows, cols, nnz).bytes;
}

void sddmm_plan(CudaStream stream, const Pattern& pattern, void* plan) {
  if (pattern.rows == 0 || pattern.cols == 0) return;
  const SddmmPlan view = sddmm_plan_view(plan, pattern.rows, pattern.cols, pattern.nnz);
  if (view.masks != nullptr)  // rows and columns past the pattern's too
    LACUNA_CUDA_CHECK(cudaMemsetAsync(view.masks, 0, view.mask_bytes(), static_cast<cudaStream_t>(stream.handle)));
  const dim3 grid(static_cast<unsigned>(view.cell_rows),
                  static_cast<unsigned>((view.cell_cols + kCellsPerBlock - 1) / kCellsPerBlock));
  sddmm_plan_kernel<<<grid, kCellsPerBlock * kCell, 0, static_cast<cudaStream_t>(stream.handle)>>>(pattern, view);
  LACUNA_CUDA_LAUNCHED("sddmm_plan");
}

}  // namespace lacuna::kernels
