// Packs a CSR pattern into panels, on the device. A block per panel: the pattern's 16 rows become 16 bits per column in
// shared memory, then a warp per window compacts the columns in use.
#include <algorithm>
#include <cub/device/device_scan.cuh>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sparse_attention/cells_plan.h"
#include "kernels/sparse_attention/sparse_attention.h"
#include "kernels/sparse_attention/tiling.h"

namespace lacuna::kernels {

namespace {

using namespace attention;

constexpr int kThreads = 256;
constexpr int kChunk = 16384;  // columns held at a time: 32 KiB of shared memory

struct PatternArgs {
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  int t;
  int window;
  int windows;
  int panels;
};

/// rows_of[c - chunk]: bit r is set where row r of the panel has column c.
__device__ void scatter_rows(const PatternArgs& a, int panel, int chunk, std::uint32_t* pairs) {
  for (int i = threadIdx.x; i < kChunk / 2; i += kThreads) pairs[i] = 0;
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int r = threadIdx.x / 32; r < kPanelRows; r += kThreads / 32) {
    const int row = panel * kPanelRows + r;
    if (row >= a.t) break;
    int begin = a.row_offsets[row], end = a.row_offsets[row + 1];
    if (a.t > kChunk) {
      begin = lower_bound(a.col_indices, begin, end, chunk);
      end = lower_bound(a.col_indices, begin, end, chunk + kChunk);
    }
    for (int e = begin + lane; e < end; e += 32) {
      const int c = a.col_indices[e] - chunk;
      atomicOr(&pairs[c / 2], 1u << (r + 16 * (c & 1)));  // integers: the order does not matter
    }
  }
  __syncthreads();
}

__device__ std::uint32_t rows_with(const std::uint32_t* pairs, int c) {
  return pairs[c / 2] >> (16 * (c & 1)) & 0xffffu;
}

/// Slots of one class of columns (column / 2 % 4) within 8: the order in which neither kind of fragment load meets a
/// bank conflict (tiling.h).
__device__ int slot_of(int column_class, int i) {
  const int second = column_class == 0 ? 5 : column_class == 1 ? 7 : column_class == 2 ? 4 : 6;
  const int first = column_class == 0 ? 0 : column_class == 1 ? 2 : column_class == 2 ? 1 : 3;
  return i / 2 * 8 + (i & 1 ? second : first);
}

__global__ void __launch_bounds__(kThreads) count_tiles(PatternArgs a, std::int32_t* __restrict__ tiles) {
  __shared__ std::uint32_t pairs[kChunk / 2];
  const int panel = blockIdx.x, lane = threadIdx.x % 32;
  for (int chunk = 0; chunk < a.t; chunk += kChunk) {
    scatter_rows(a, panel, chunk, pairs);
    const int last = min(a.windows, (chunk + kChunk) / a.window);
    for (int w = chunk / a.window + threadIdx.x / 32; w < last; w += kThreads / 32) {
      int used = 0;
      for (int c = lane; c < a.window; c += 32)
        used += __popc(__ballot_sync(~0u, rows_with(pairs, w * a.window - chunk + c) != 0));
      if (lane == 0) tiles[static_cast<std::int64_t>(w) * a.panels + panel] = (used + kTileSlots - 1) / kTileSlots;
    }
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads)
    fill_slots(PatternArgs a, const std::int32_t* __restrict__ tile_offsets, std::uint32_t* __restrict__ slots) {
  __shared__ std::uint32_t pairs[kChunk / 2];
  const int panel = blockIdx.x, lane = threadIdx.x % 32;
  for (int chunk = 0; chunk < a.t; chunk += kChunk) {
    scatter_rows(a, panel, chunk, pairs);
    const int last = min(a.windows, (chunk + kChunk) / a.window);
    for (int w = chunk / a.window + threadIdx.x / 32; w < last; w += kThreads / 32) {
      const std::int64_t at = static_cast<std::int64_t>(w) * a.panels + panel;
      const int first = tile_offsets[at];
      const int capacity = (tile_offsets[at + 1] - first) * kTileSlots / 4;  // slots of each class
      if (capacity == 0) continue;
      std::uint32_t* out = slots + static_cast<std::int64_t>(first) * kTileSlots;
      int count[4] = {}, overflow_before[4], free_before[5];
      for (int c = lane; c < a.window; c += 32) {
        const unsigned used = __ballot_sync(~0u, rows_with(pairs, w * a.window - chunk + c) != 0);
#pragma unroll
        for (int r = 0; r < 4; ++r) count[r] += __popc(used & 0x03030303u << 2 * r);
      }
      int overflow = 0;
      free_before[0] = 0;
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        overflow_before[r] = overflow;
        overflow += count[r] > capacity ? count[r] - capacity : 0;
        free_before[r + 1] = free_before[r] + (count[r] < capacity ? capacity - count[r] : 0);
      }
      // Position of the o-th free slot: slots that a class with few columns leaves over.
      const auto free_slot = [&](int o, int* of_class) {
        int slot = 0;
#pragma unroll
        for (int r = 0; r < 4; ++r) {
          if (o >= free_before[r] && o < free_before[r + 1]) {
            slot = slot_of(r, count[r] + o - free_before[r]);
            *of_class = r;
          }
        }
        return slot;
      };
      const int my_class = lane / 2 % 4;
      int seen = 0;  // columns of my class before this lane's
      for (int c = lane; c < a.window; c += 32) {
        const std::uint32_t rows = rows_with(pairs, w * a.window - chunk + c);
        const unsigned mine = __ballot_sync(~0u, rows != 0) & 0x03030303u << 2 * my_class;
        const int i = seen + __popc(mine & ((1u << lane) - 1));
        seen += __popc(mine);
        if (rows == 0) continue;
        int before = 0, unused;
#pragma unroll
        for (int r = 0; r < 4; ++r) before = r == my_class ? overflow_before[r] : before;
        const int slot = i < capacity ? slot_of(my_class, i) : free_slot(before + i - capacity, &unused);
        out[slot] = static_cast<std::uint32_t>(c) | rows << 16;
      }
      for (int o = overflow + lane; o < free_before[4]; o += 32) {
        int of_class = 0;
        const int slot = free_slot(o, &of_class);
        out[slot] = static_cast<std::uint32_t>(2 * of_class);  // no row: any column of the class does
      }
    }
    __syncthreads();
  }
}

/// work[b] = tiles of block b, its panels over all windows; a warp per block.
__global__ void __launch_bounds__(32) block_work(const std::int32_t* __restrict__ tile_offsets, int panels, int windows,
                                                 int per_block, std::int32_t* __restrict__ work) {
  const int p0 = blockIdx.x * per_block, p1 = min(panels, p0 + per_block);
  int sum = 0;
  for (int w = threadIdx.x; w < windows; w += 32)
    sum += tile_offsets[static_cast<std::int64_t>(w) * panels + p1] -
           tile_offsets[static_cast<std::int64_t>(w) * panels + p0];
  sum = __reduce_add_sync(~0u, sum);
  if (threadIdx.x == 0) work[blockIdx.x] = sum;
}

/// order[rank] = block, most work first, ties by index. Quadratic, but blocks are few: 64 for 12,288 rows.
__global__ void __launch_bounds__(kThreads)
    rank_blocks(const std::int32_t* __restrict__ work, int blocks, std::int32_t* __restrict__ order) {
  const int b = blockIdx.x * kThreads + threadIdx.x;
  if (b >= blocks) return;
  int rank = 0;
  for (int o = 0; o < blocks; ++o) rank += work[o] > work[b] || (work[o] == work[b] && o < b);
  order[rank] = b;
}

PatternArgs pattern_args(std::int64_t t, std::int64_t window, const std::int32_t* row_offsets,
                         const std::int32_t* col_indices) {
  return {row_offsets,
          col_indices,
          static_cast<int>(t),
          static_cast<int>(window),
          static_cast<int>((t + window - 1) / window),
          static_cast<int>((t + kPanelRows - 1) / kPanelRows)};
}

std::size_t scan_bytes(std::int64_t n) {
  std::size_t bytes = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, bytes, static_cast<std::int32_t*>(nullptr),
                                                  static_cast<std::int32_t*>(nullptr), n));
  return bytes;
}

std::size_t padded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace

template <class T>
std::int64_t attention_window(std::int64_t d) {
  return window_of(row_bytes(d, sizeof(T)));
}
template std::int64_t attention_window<Bf16>(std::int64_t);
template std::int64_t attention_window<float>(std::int64_t);

std::size_t attention::kept_scores_bytes(const AttentionProblem& problem, std::span<const PanelPlan> transposed) {
  constexpr std::int64_t kCellBytes = kCellRows * kCellRows * 2, kMost = std::int64_t{5} << 28;  // 1.25 GiB
  if (problem.d != kCellRows) return 0;
  const std::int64_t blocks = cell_blocks(problem.t);
  std::int64_t cells = problem.causal ? problem.matrices * (blocks * (blocks + 1) / 2) : 0;
  for (const PanelPlan& plan : transposed) {
    if (problem.causal) break;
    if (!plan.cell_places) return 0;
    cells += plan.cells * problem.matrices_per_pattern;
  }
  return cells <= kMost / kCellBytes ? static_cast<std::size_t>(cells * kCellBytes) : 0;
}

template <class T>
std::size_t sparse_attention_backward_scratch_bytes(CudaStream, const AttentionProblem& problem,
                                                    std::span<const PanelPlan> transposed) {
  return padded(static_cast<std::size_t>(problem.matrices * problem.t) * sizeof(float4)) +
         (sizeof(T) == 2 ? kept_scores_bytes(problem, transposed) : 0);
}
template std::size_t sparse_attention_backward_scratch_bytes<Bf16>(CudaStream, const AttentionProblem&,
                                                                   std::span<const PanelPlan>);
template std::size_t sparse_attention_backward_scratch_bytes<float>(CudaStream, const AttentionProblem&,
                                                                    std::span<const PanelPlan>);

std::int64_t attention_plan_offsets_size(std::int64_t t, std::int64_t window) {
  return (t + window - 1) / window * ((t + kPanelRows - 1) / kPanelRows) + 1;
}

std::int64_t attention_block_order_size(std::int64_t t) {
  return attention::blocks_of(t, kWidePanels) + attention::blocks_of(t, kNarrowPanels);
}

template <class T>
int attention_cell_tiles(std::int64_t d) {
  return sizeof(T) == 2 && d == 128 ? 24 : 0;
}
template int attention_cell_tiles<Bf16>(std::int64_t);
template int attention_cell_tiles<float>(std::int64_t);

std::int64_t attention_cell_offsets_size(std::int64_t t) { return cell_blocks(t) + 1; }

std::size_t panel_plan_scratch_bytes(CudaStream, std::int64_t t, std::int64_t window) {
  const std::int64_t n = attention_plan_offsets_size(t, window);
  const std::size_t cells = window == kCellRows ? cells_scratch_bytes(cell_blocks(t), cell_blocks(t)) : 0;
  return padded(cells) +
         padded(static_cast<std::size_t>(std::max(n, blocks_of(t, kNarrowPanels))) * sizeof(std::int32_t)) +
         padded(scan_bytes(n));
}

PanelPlanSizes panel_plan_offsets(CudaStream stream, std::int64_t t, std::int64_t window,
                                  const std::int32_t* row_offsets, const std::int32_t* col_indices,
                                  std::int32_t* tile_offsets, std::int32_t* block_order, std::int32_t* cell_offsets,
                                  int min_cell_tiles, void* scratch, const PanelPlan* rows) {
  const auto cuda = static_cast<cudaStream_t>(stream.handle);
  const std::int64_t n = attention_plan_offsets_size(t, window);
  if (t == 0) {
    LACUNA_CUDA_CHECK(cudaMemsetAsync(tile_offsets, 0, sizeof(std::int32_t), cuda));
    if (cell_offsets) LACUNA_CUDA_CHECK(cudaMemsetAsync(cell_offsets, 0, sizeof(std::int32_t), cuda));
    return {};
  }
  const PatternArgs a = pattern_args(t, window, row_offsets, col_indices);
  void* const of_cells = scratch;
  if (window == kCellRows)
    scratch = static_cast<char*>(scratch) + padded(cells_scratch_bytes(cell_blocks(t), cell_blocks(t)));
  auto* counts = static_cast<std::int32_t*>(scratch);
  void* temporary = static_cast<char*>(scratch) +
                    padded(static_cast<std::size_t>(std::max(n, blocks_of(t, kNarrowPanels))) * sizeof(std::int32_t));
  LACUNA_CUDA_CHECK(cudaMemsetAsync(counts + n - 1, 0, sizeof(std::int32_t), cuda));
  count_tiles<<<a.panels, kThreads, 0, cuda>>>(a, counts);
  LACUNA_CUDA_LAUNCHED("count_tiles");
  if (cell_offsets) take_cells(cuda, t, a.windows, min_cell_tiles, rows, counts, cell_offsets, of_cells);
  std::size_t bytes = scan_bytes(n);
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(temporary, bytes, counts, tile_offsets, n, cuda));
  std::int32_t* order = block_order;
  for (const int per_block : {kWidePanels, kNarrowPanels}) {
    const int blocks = static_cast<int>(blocks_of(t, per_block));
    block_work<<<blocks, 32, 0, cuda>>>(tile_offsets, a.panels, a.windows, per_block, counts);
    LACUNA_CUDA_LAUNCHED("block_work");
    rank_blocks<<<(blocks + kThreads - 1) / kThreads, kThreads, 0, cuda>>>(counts, blocks, order);
    LACUNA_CUDA_LAUNCHED("rank_blocks");
    order += blocks;
  }
  std::int32_t tiles = 0, cells = 0;
  LACUNA_CUDA_CHECK(cudaMemcpyAsync(&tiles, tile_offsets + n - 1, sizeof(tiles), cudaMemcpyDeviceToHost, cuda));
  if (cell_offsets)
    LACUNA_CUDA_CHECK(
        cudaMemcpyAsync(&cells, cell_offsets + cell_blocks(t), sizeof(cells), cudaMemcpyDeviceToHost, cuda));
  LACUNA_CUDA_CHECK(cudaStreamSynchronize(cuda));
  return {tiles, cells};
}

void panel_plan_slots(CudaStream stream, std::int64_t t, std::int64_t window, const std::int32_t* row_offsets,
                      const std::int32_t* col_indices, const std::int32_t* tile_offsets, std::uint32_t* slots) {
  if (t == 0) return;
  const PatternArgs a = pattern_args(t, window, row_offsets, col_indices);
  fill_slots<<<a.panels, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(a, tile_offsets, slots);
  LACUNA_CUDA_LAUNCHED("fill_slots");
}

void panel_plan_cells(CudaStream stream, std::int64_t t, const std::int32_t* row_offsets,
                      const std::int32_t* col_indices, const std::int32_t* cell_offsets, std::int64_t cells,
                      std::int32_t* cell_windows, std::uint32_t* cell_bits, std::int32_t* cell_order,
                      const void* scratch, const PanelPlan* rows, std::int32_t* cell_places) {
  if (t == 0) return;
  fill_cells(static_cast<cudaStream_t>(stream.handle), t, cell_blocks(t), row_offsets, col_indices, cell_offsets, cells,
             cell_windows, cell_order, cell_bits, scratch);
  if (rows) fill_places(static_cast<cudaStream_t>(stream.handle), t, *rows, cell_offsets, cell_windows, cell_places);
}

}  // namespace lacuna::kernels
