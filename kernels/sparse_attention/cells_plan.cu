// Which cells of a pattern (cells.cuh) are computed whole, and a bit for each of their entries; on the device.
#include <algorithm>
#include <cub/device/device_scan.cuh>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sparse_attention/cells_plan.h"

namespace lacuna::kernels::attention {

namespace {

constexpr int kThreads = 256;
constexpr int kPanelsPerCell = kCellRows / kPanelRows;

/// A warp per 128 rows of a pattern: names its cells in the transpose.
__global__ void __launch_bounds__(32)
    name_cells(const std::int32_t* __restrict__ offsets, const std::int32_t* __restrict__ cell_windows, int windows,
               std::uint8_t* __restrict__ chosen) {
  const int block = blockIdx.x;
  for (int cell = offsets[block] + static_cast<int>(threadIdx.x); cell < offsets[block + 1]; cell += 32)
    chosen[static_cast<std::int64_t>(cell_windows[cell]) * windows + block] = 1;
}

/// A warp per 128 rows: takes the tiles of cells that have `min_tiles` or more (0: that are chosen) away, and counts these
/// cells.
__global__ void __launch_bounds__(32)
    choose_cells(std::int32_t* __restrict__ tiles, int panels, int windows, int min_tiles,
                 std::uint8_t* __restrict__ chosen, std::int32_t* __restrict__ cells) {
  const int block = blockIdx.x, p0 = block * kPanelsPerCell, p1 = min(panels, p0 + kPanelsPerCell);
  int count = 0;
  for (int w = threadIdx.x; w < windows; w += 32) {
    std::int32_t* of = tiles + static_cast<std::int64_t>(w) * panels;
    int sum = 0;
    for (int p = p0; p < p1; ++p) sum += of[p];
    std::uint8_t& is_chosen = chosen[static_cast<std::int64_t>(block) * windows + w];
    const bool whole = min_tiles > 0 ? sum >= min_tiles : is_chosen != 0;
    if (whole) {
      for (int p = p0; p < p1; ++p) of[p] = 0;
    }
    is_chosen = whole;
    count += whole;
  }
  count = __reduce_add_sync(~0u, count);
  if (threadIdx.x == 0) {
    cells[block] = count;
    if (block == 0) cells[gridDim.x] = 0;
  }
}

/// A warp per 128 rows: its cells' windows, ascending, and its place among all, most cells first, ties by index.
__global__ void __launch_bounds__(32)
    list_cells(const std::uint8_t* __restrict__ chosen, int windows, const std::int32_t* __restrict__ offsets,
               std::int32_t* __restrict__ cell_windows, std::int32_t* __restrict__ order) {
  const int block = blockIdx.x, blocks = gridDim.x, lane = threadIdx.x;
  int at = offsets[block];
  for (int first = 0; first < windows; first += 32) {
    const int w = first + lane;
    const unsigned mask = __ballot_sync(~0u, w < windows && chosen[static_cast<std::int64_t>(block) * windows + w]);
    if (mask >> lane & 1) cell_windows[at + __popc(mask & ((1u << lane) - 1))] = w;
    at += __popc(mask);
  }
  const int own = offsets[block + 1] - offsets[block];
  int rank = 0;
  for (int o = lane; o < blocks; o += 32) {
    const int other = offsets[o + 1] - offsets[o];
    rank += other > own || (other == own && o < block);
  }
  rank = __reduce_add_sync(~0u, rank);
  if (lane == 0) order[rank] = block;
}

/// A block per cell, a warp for 16 of its rows at a time.
__global__ void __launch_bounds__(kThreads)
    fill_bits(const std::int32_t* __restrict__ row_offsets, const std::int32_t* __restrict__ columns, int t, int blocks,
              const std::int32_t* __restrict__ offsets, const std::int32_t* __restrict__ cell_windows,
              std::uint32_t* __restrict__ bits) {
  __shared__ std::uint32_t words[kCellWords];
  const int cell = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  // The last block whose first cell is not past this one: blocks without cells share their first.
  int low = 0, high = blocks;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (offsets[middle] <= cell)
      low = middle;
    else
      high = middle;
  }
  const int first = cell_windows[cell] * kCellRows;
  for (int i = threadIdx.x; i < kCellWords; i += kThreads) words[i] = 0;
  __syncthreads();
  for (int r = warp; r < kCellRows; r += kThreads / 32) {
    const int row = low * kCellRows + r;
    if (row >= t) break;
    const int begin = lower_bound(columns, row_offsets[row], row_offsets[row + 1], first);
    const int end = lower_bound(columns, begin, row_offsets[row + 1], first + kCellRows);
    for (int e = begin + lane; e < end; e += 32) {
      const int c = columns[e] - first;
      const int thread = r / 16 * 32 + r % 8 * 4 + c % 8 / 2, bit = c % 64 / 8 * 4 + r / 8 % 2 * 2 + c % 2;
      atomicOr(&words[thread * 2 + c / 64], 1u << bit);  // integers: the order does not matter
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kCellWords; i += kThreads)
    bits[static_cast<std::int64_t>(cell) * kCellWords + i] = words[i];
}

/// A warp per 128 rows of a pattern: where its cells are in the transpose's list.
__global__ void __launch_bounds__(32)
    find_cells(const std::int32_t* __restrict__ row_offsets, const std::int32_t* __restrict__ row_windows,
               const std::int32_t* __restrict__ offsets, const std::int32_t* __restrict__ windows,
               std::int32_t* __restrict__ places) {
  const int block = blockIdx.x;
  for (int cell = row_offsets[block] + static_cast<int>(threadIdx.x); cell < row_offsets[block + 1]; cell += 32)
    places[cell] = lower_bound(windows, offsets[row_windows[cell]], offsets[row_windows[cell] + 1], block);
}

}  // namespace

std::size_t cells_scratch_bytes(std::int64_t blocks, std::int64_t windows) {
  std::size_t scan = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, scan, static_cast<std::int32_t*>(nullptr),
                                                  static_cast<std::int32_t*>(nullptr), blocks + 1));
  const auto counts = static_cast<std::size_t>(blocks + 1) * sizeof(std::int32_t);
  return (static_cast<std::size_t>(blocks * windows) + 255) / 256 * 256 + (counts + 255) / 256 * 256 + scan;
}

void take_cells(cudaStream_t stream, std::int64_t t, std::int64_t windows, int min_tiles, const PanelPlan* rows,
                std::int32_t* tiles, std::int32_t* cell_offsets, void* scratch) {
  const int panels = static_cast<int>((t + kPanelRows - 1) / kPanelRows);
  const std::int64_t blocks = cell_blocks(t);
  auto* chosen = static_cast<std::uint8_t*>(scratch);
  auto* counts = reinterpret_cast<std::int32_t*>(chosen + (blocks * windows + 255) / 256 * 256);
  void* temporary = reinterpret_cast<char*>(counts) + ((blocks + 1) * 4 + 255) / 256 * 256;
  if (rows) {
    LACUNA_CUDA_CHECK(cudaMemsetAsync(chosen, 0, static_cast<std::size_t>(blocks * windows), stream));
    name_cells<<<static_cast<unsigned>(blocks), 32, 0, stream>>>(rows->cell_offsets, rows->cell_windows,
                                                                 static_cast<int>(windows), chosen);
    LACUNA_CUDA_LAUNCHED("name_cells");
    min_tiles = 0;
  }
  choose_cells<<<static_cast<unsigned>(blocks), 32, 0, stream>>>(tiles, panels, static_cast<int>(windows), min_tiles,
                                                                 chosen, counts);
  LACUNA_CUDA_LAUNCHED("choose_cells");
  std::size_t bytes = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, bytes, counts, cell_offsets, blocks + 1, stream));
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(temporary, bytes, counts, cell_offsets, blocks + 1, stream));
}

void fill_cells(cudaStream_t stream, std::int64_t t, std::int64_t windows, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, const std::int32_t* cell_offsets, std::int64_t cells,
                std::int32_t* cell_windows, std::int32_t* cell_order, std::uint32_t* cell_bits, const void* scratch) {
  const std::int64_t blocks = cell_blocks(t);
  list_cells<<<static_cast<unsigned>(blocks), 32, 0, stream>>>(
      static_cast<const std::uint8_t*>(scratch), static_cast<int>(windows), cell_offsets, cell_windows, cell_order);
  LACUNA_CUDA_LAUNCHED("list_cells");
  if (cells == 0) return;
  fill_bits<<<static_cast<unsigned>(cells), kThreads, 0, stream>>>(
      row_offsets, col_indices, static_cast<int>(t), static_cast<int>(blocks), cell_offsets, cell_windows, cell_bits);
  LACUNA_CUDA_LAUNCHED("fill_bits");
}

void fill_places(cudaStream_t stream, std::int64_t t, const PanelPlan& rows, const std::int32_t* cell_offsets,
                 const std::int32_t* cell_windows, std::int32_t* cell_places) {
  find_cells<<<static_cast<unsigned>(cell_blocks(t)), 32, 0, stream>>>(rows.cell_offsets, rows.cell_windows,
                                                                       cell_offsets, cell_windows, cell_places);
  LACUNA_CUDA_LAUNCHED("find_cells");
}

}  // namespace lacuna::kernels::attention
