// The part of a plan that is cells; panel_plan.cu calls it.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/sparse_attention/sparse_attention.h"

namespace lacuna::kernels::attention {

constexpr int kCellRows = 128;  // and columns: a window of the panels' plan

constexpr std::int64_t cell_blocks(std::int64_t t) { return (t + kCellRows - 1) / kCellRows; }

/// Of dS of all cells, which the backward pass keeps between its two kernels; 0: it computes the scores twice, be it that the
/// plans of rows and columns have unlike cells or that they are too many.
std::size_t kept_scores_bytes(const AttentionProblem&, std::span<const PanelPlan> transposed);

/// The first of columns[begin, end), ascending, that is not below value; `end` if none.
__device__ inline int lower_bound(const std::int32_t* columns, int begin, int end, int value) {
  while (begin < end) {
    const int middle = begin + (end - begin) / 2;
    if (columns[middle] < value)
      begin = middle + 1;
    else
      end = middle;
  }
  return begin;
}

std::size_t cells_scratch_bytes(std::int64_t blocks, std::int64_t windows);

/// Of tiles [windows * panels], counts before they are summed up: sets those of a cell to 0 where there are min_tiles or
/// more in its 8 panels, and fills cell_offsets [blocks + 1]. rows, if given, names the cells instead: those of the pattern
/// that this one is the transpose of.
void take_cells(cudaStream_t, std::int64_t t, std::int64_t windows, int min_tiles, const PanelPlan* rows,
                std::int32_t* tiles, std::int32_t* cell_offsets, void* scratch);

/// The rest of the cells' plan; scratch as take_cells left it.
void fill_cells(cudaStream_t, std::int64_t t, std::int64_t windows, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, const std::int32_t* cell_offsets, std::int64_t cells,
                std::int32_t* cell_windows, std::int32_t* cell_order, std::uint32_t* cell_bits, const void* scratch);

/// cell_places [cells] of the transpose's plan, from that of the rows.
void fill_places(cudaStream_t, std::int64_t t, const PanelPlan& rows, const std::int32_t* cell_offsets,
                 const std::int32_t* cell_windows, std::int32_t* cell_places);

}  // namespace lacuna::kernels::attention
