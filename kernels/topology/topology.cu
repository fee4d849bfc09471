// Patterns on CUDA: counting, compaction and the derived patterns. Integers only, and every order is fixed.
// Values over patterns (gather, sample) are in topology_values.cu, densify in densify.cu.
#include <algorithm>
#include <bit>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_scan.cuh>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

unsigned blocks_for(std::int64_t items, std::int64_t per_block) {
  return static_cast<unsigned>(std::min<std::int64_t>((items + per_block - 1) / per_block, 0x7fffffff));
}

std::size_t padded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

/// Hands out parts of the caller's scratch, each aligned to 256 bytes.
class Parts {
 public:
  explicit Parts(void* scratch) : next_(static_cast<char*>(scratch)) {}
  template <class T>
  T* take(std::int64_t count) {
    char* part = next_;
    next_ += padded(static_cast<std::size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(part);
  }
  void* rest() const { return next_; }

 private:
  char* next_;
};

__device__ std::int64_t global_warp() { return (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp; }

// What is compacted: row r's candidates are items [begin(r), end(r)), of which keep[i] != 0 stay, each as column(r, i).
struct MaskRows {
  std::int64_t cols;
  __device__ std::int64_t begin(std::int64_t r) const { return r * cols; }
  __device__ std::int64_t end(std::int64_t r) const { return (r + 1) * cols; }
  __device__ std::int32_t column(std::int64_t r, std::int64_t i) const {
    return static_cast<std::int32_t>(i - r * cols);
  }
};

struct SubsetRows {
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  __device__ std::int64_t begin(std::int64_t r) const { return row_offsets[r]; }
  __device__ std::int64_t end(std::int64_t r) const { return row_offsets[r + 1]; }
  __device__ std::int32_t column(std::int64_t, std::int64_t i) const { return col_indices[i]; }
};

constexpr int kBatches = 4;  // reads of the mask in flight per lane

/// counts[r] = kept items of row r; a warp per row.
template <class Rows>
__global__ void __launch_bounds__(kThreads)
    count_kept(const std::uint8_t* __restrict__ keep, std::int64_t rows, Rows of, std::int64_t* __restrict__ counts) {
  const std::int64_t r = global_warp();
  if (r >= rows) return;
  const std::int64_t end = of.end(r);
  std::int64_t count = 0;
#pragma unroll 4
  for (std::int64_t i = of.begin(r) + threadIdx.x % kWarp; i < end; i += kWarp) count += keep[i] != 0;
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) count += __shfl_xor_sync(0xffffffffu, count, offset);
  if (threadIdx.x % kWarp == 0) counts[r] = count;
}

/// columns[offsets[r]...] = the columns of row r's kept items, in order; a warp per row.
template <class Rows>
__global__ void __launch_bounds__(kThreads)
    compact_kept(const std::uint8_t* __restrict__ keep, std::int64_t rows, Rows of,
                 const std::int32_t* __restrict__ offsets, std::int32_t* __restrict__ columns) {
  const std::int64_t r = global_warp();
  if (r >= rows) return;
  const unsigned lane = threadIdx.x % kWarp;
  const unsigned lower = (1u << lane) - 1;
  const std::int64_t end = of.end(r);
  std::int32_t* out = columns + offsets[r];
  for (std::int64_t base = of.begin(r); base < end; base += kWarp * kBatches) {
    bool kept[kBatches];
#pragma unroll
    for (int j = 0; j < kBatches; ++j) {
      const std::int64_t i = base + j * kWarp + lane;
      kept[j] = i < end && keep[i] != 0;
    }
#pragma unroll
    for (int j = 0; j < kBatches; ++j) {
      const unsigned all = __ballot_sync(0xffffffffu, kept[j]);
      if (kept[j]) out[__popc(all & lower)] = of.column(r, base + j * kWarp + lane);
      out += __popc(all);
    }
  }
}

/// offsets [rows + 1] from inclusive sums; wraps where a sum passes 2^31 - 1, which the caller refuses.
__global__ void __launch_bounds__(kThreads)
    narrow_offsets(const std::int64_t* __restrict__ sums, std::int64_t rows, std::int32_t* offsets) {
  const std::int64_t r = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (r > rows) return;
  offsets[r] = r == 0 ? 0 : static_cast<std::int32_t>(sums[r - 1]);
}

__global__ void __launch_bounds__(kThreads)
    expand_rows_kernel(const std::int32_t* __restrict__ row_offsets, std::int64_t rows,
                       std::int32_t* __restrict__ row_indices) {
  const std::int64_t r = global_warp();
  if (r >= rows) return;
  const std::int64_t end = row_offsets[r + 1];
  for (std::int64_t i = row_offsets[r] + threadIdx.x % kWarp; i < end; i += kWarp)
    row_indices[i] = static_cast<std::int32_t>(r);
}

__global__ void __launch_bounds__(kThreads) iota(std::int64_t n, std::int32_t* out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) out[i] = static_cast<std::int32_t>(i);
}

__global__ void __launch_bounds__(kThreads)
    row_lengths(const std::int32_t* __restrict__ row_offsets, std::int64_t rows, std::uint32_t* __restrict__ lengths,
                std::int32_t* __restrict__ indices) {
  const std::int64_t r = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (r >= rows) return;
  lengths[r] = static_cast<std::uint32_t>(row_offsets[r + 1] - row_offsets[r]);
  indices[r] = static_cast<std::int32_t>(r);
}

/// offsets[c] = how many of the ascending keys are below c, for c in [0, cols].
__global__ void __launch_bounds__(kThreads) offsets_of_sorted(const std::uint32_t* __restrict__ keys, std::int64_t n,
                                                              std::int64_t cols, std::int32_t* __restrict__ offsets) {
  const std::int64_t c = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (c > cols) return;
  std::int64_t low = 0, high = n;
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (keys[middle] < c) low = middle + 1;
    else high = middle;
  }
  offsets[c] = static_cast<std::int32_t>(low);
}

__global__ void __launch_bounds__(kThreads)
    gather_indices(const std::int32_t* __restrict__ from, const std::int32_t* __restrict__ at, std::int64_t n,
                   std::int32_t* __restrict__ to) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) to[i] = from[at[i]];
}

/// A warp per row of `to`; each lane searches the same row of `from`. from.row_offsets is null for the full matrix.
__global__ void __launch_bounds__(kThreads)
    map_positions_kernel(Pattern from, Pattern to, std::int32_t* __restrict__ map) {
  const std::int64_t r = global_warp();
  if (r >= to.rows) return;
  const std::int64_t to_end = to.row_offsets[r + 1];
  const std::int64_t from_begin = from.row_offsets ? from.row_offsets[r] : 0;
  const std::int64_t from_end = from.row_offsets ? from.row_offsets[r + 1] : 0;
  for (std::int64_t i = to.row_offsets[r] + threadIdx.x % kWarp; i < to_end; i += kWarp) {
    const std::int32_t column = to.col_indices[i];
    if (!from.row_offsets) {
      map[i] = static_cast<std::int32_t>(r * to.cols + column);
      continue;
    }
    std::int64_t low = from_begin, high = from_end;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (from.col_indices[middle] < column) low = middle + 1;
      else high = middle;
    }
    map[i] = low < from_end && from.col_indices[low] == column ? static_cast<std::int32_t>(low) : -1;
  }
}

std::size_t offsets_scratch_bytes(std::int64_t rows) {
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::InclusiveSum(nullptr, temporary, static_cast<std::int64_t*>(nullptr),
                                                  static_cast<std::int64_t*>(nullptr), rows));
  return 2 * padded(static_cast<std::size_t>(rows) * sizeof(std::int64_t)) + padded(temporary);
}

template <class Rows>
std::int64_t kept_offsets(CudaStream stream, const std::uint8_t* keep, std::int64_t rows, const Rows& of,
                          std::int32_t* offsets, void* scratch) {
  if (rows == 0) {
    LACUNA_CUDA_CHECK(cudaMemsetAsync(offsets, 0, sizeof(std::int32_t), cuda(stream)));
    return 0;
  }
  Parts parts(scratch);
  auto* counts = parts.take<std::int64_t>(rows);
  auto* sums = parts.take<std::int64_t>(rows);
  count_kept<<<blocks_for(rows, kWarps), kThreads, 0, cuda(stream)>>>(keep, rows, of, counts);
  LACUNA_CUDA_LAUNCHED("count_kept");
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::InclusiveSum(nullptr, temporary, counts, sums, rows));
  LACUNA_CUDA_CHECK(cub::DeviceScan::InclusiveSum(parts.rest(), temporary, counts, sums, rows, cuda(stream)));
  narrow_offsets<<<blocks_for(rows + 1, kThreads), kThreads, 0, cuda(stream)>>>(sums, rows, offsets);
  LACUNA_CUDA_LAUNCHED("narrow_offsets");
  std::int64_t total = 0;
  LACUNA_CUDA_CHECK(cudaMemcpyAsync(&total, sums + rows - 1, sizeof(total), cudaMemcpyDeviceToHost, cuda(stream)));
  LACUNA_CUDA_CHECK(cudaStreamSynchronize(cuda(stream)));
  return total;
}

/// Bits that the numbers [0, count) need; at least 1.
int bits_for(std::int64_t count) {
  return std::max(1,
                  static_cast<int>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(count, 1) - 1))));
}

/// One bound a thread.
__global__ void row_shares_kernel(std::int64_t rows, std::int64_t share, int shares, const std::int32_t* row_offsets,
                                  const std::int32_t* col_indices, std::int32_t* bounds) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * (shares + 1); i += step) {
    const std::int64_t row = i / (shares + 1), first = i % (shares + 1) * share;
    std::int32_t low = row_offsets[row], high = row_offsets[row + 1];
    while (low < high) {  // entries before `low` are below `first`, those from `high` on are not
      const std::int32_t middle = low + (high - low) / 2;
      if (col_indices[middle] < first) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    bounds[i] = low;
  }
}

}  // namespace

std::size_t mask_offsets_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t) {
  return offsets_scratch_bytes(rows);
}

std::int64_t mask_offsets(CudaStream stream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                          std::int32_t* row_offsets, void* scratch) {
  return kept_offsets(stream, mask, rows, MaskRows{cols}, row_offsets, scratch);
}

void mask_columns(CudaStream stream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                  const std::int32_t* row_offsets, std::int32_t* col_indices) {
  if (rows == 0 || cols == 0) return;
  compact_kept<<<blocks_for(rows, kWarps), kThreads, 0, cuda(stream)>>>(mask, rows, MaskRows{cols}, row_offsets,
                                                                        col_indices);
  LACUNA_CUDA_LAUNCHED("mask_columns");
}

std::size_t subset_offsets_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t) {
  return offsets_scratch_bytes(rows);
}

std::int64_t subset_offsets(CudaStream stream, const std::uint8_t* keep, std::int64_t rows, std::int64_t,
                            const std::int32_t* row_offsets, std::int32_t* new_offsets, void* scratch) {
  return kept_offsets(stream, keep, rows, SubsetRows{row_offsets, nullptr}, new_offsets, scratch);
}

void subset_columns(CudaStream stream, const std::uint8_t* keep, std::int64_t rows, const std::int32_t* row_offsets,
                    const std::int32_t* col_indices, const std::int32_t* new_offsets, std::int32_t* new_columns) {
  if (rows == 0) return;
  compact_kept<<<blocks_for(rows, kWarps), kThreads, 0, cuda(stream)>>>(
      keep, rows, SubsetRows{row_offsets, col_indices}, new_offsets, new_columns);
  LACUNA_CUDA_LAUNCHED("subset_columns");
}

void expand_rows(CudaStream stream, std::int64_t rows, std::int64_t nnz, const std::int32_t* row_offsets,
                 std::int32_t* row_indices) {
  if (rows == 0 || nnz == 0) return;
  expand_rows_kernel<<<blocks_for(rows, kWarps), kThreads, 0, cuda(stream)>>>(row_offsets, rows, row_indices);
  LACUNA_CUDA_LAUNCHED("expand_rows");
}

std::size_t row_order_scratch_bytes(CudaStream, std::int64_t rows) {
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairsDescending(
      nullptr, temporary, static_cast<const std::uint32_t*>(nullptr), static_cast<std::uint32_t*>(nullptr),
      static_cast<const std::int32_t*>(nullptr), static_cast<std::int32_t*>(nullptr), rows));
  return 3 * padded(static_cast<std::size_t>(rows) * sizeof(std::int32_t)) + padded(temporary);
}

void row_order(CudaStream stream, std::int64_t rows, const std::int32_t* row_offsets, std::int32_t* order,
               void* scratch) {
  if (rows == 0) return;
  Parts parts(scratch);
  auto* lengths = parts.take<std::uint32_t>(rows);
  auto* sorted = parts.take<std::uint32_t>(rows);
  auto* indices = parts.take<std::int32_t>(rows);
  row_lengths<<<blocks_for(rows, kThreads), kThreads, 0, cuda(stream)>>>(row_offsets, rows, lengths, indices);
  LACUNA_CUDA_LAUNCHED("row_lengths");
  std::size_t temporary = 0;
  const std::uint32_t* keys = lengths;
  const std::int32_t* items = indices;
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairsDescending(nullptr, temporary, keys, sorted, items, order, rows));
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairsDescending(parts.rest(), temporary, keys, sorted, items, order, rows,
                                                              0, 32, cuda(stream)));
}

void row_shares(CudaStream stream, std::int64_t rows, std::int64_t cols, int shares, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, std::int32_t* bounds) {
  if (rows == 0) return;
  row_shares_kernel<<<blocks_for(rows * (shares + 1), kThreads), kThreads, 0, cuda(stream)>>>(
      rows, (cols + shares - 1) / shares, shares, row_offsets, col_indices, bounds);
  LACUNA_CUDA_LAUNCHED("row_shares");
}

std::size_t transpose_scratch_bytes(CudaStream, std::int64_t, std::int64_t cols, std::int64_t nnz) {
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
      nullptr, temporary, static_cast<const std::uint32_t*>(nullptr), static_cast<std::uint32_t*>(nullptr),
      static_cast<const std::int32_t*>(nullptr), static_cast<std::int32_t*>(nullptr), nnz, 0, bits_for(cols)));
  return 2 * padded(static_cast<std::size_t>(nnz) * sizeof(std::int32_t)) + padded(temporary);
}

void transpose_pattern(CudaStream stream, std::int64_t rows, std::int64_t cols, std::int64_t nnz,
                       const std::int32_t* row_offsets, const std::int32_t* col_indices, std::int32_t* t_offsets,
                       std::int32_t* t_columns, std::int32_t* permutation, void* scratch) {
  if (nnz == 0) {
    LACUNA_CUDA_CHECK(
        cudaMemsetAsync(t_offsets, 0, static_cast<std::size_t>(cols + 1) * sizeof(std::int32_t), cuda(stream)));
    return;
  }
  Parts parts(scratch);
  auto* sorted = parts.take<std::uint32_t>(nnz);
  auto* indices = parts.take<std::int32_t>(nnz);  // entry numbers, then the row of each entry
  iota<<<blocks_for(nnz, kThreads), kThreads, 0, cuda(stream)>>>(nnz, indices);
  LACUNA_CUDA_LAUNCHED("iota");
  // Stable: entries of one column stay in the order of their rows.
  const auto* keys = reinterpret_cast<const std::uint32_t*>(col_indices);
  const std::int32_t* items = indices;
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(
      cub::DeviceRadixSort::SortPairs(nullptr, temporary, keys, sorted, items, permutation, nnz, 0, bits_for(cols)));
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(parts.rest(), temporary, keys, sorted, items, permutation, nnz, 0,
                                                    bits_for(cols), cuda(stream)));
  offsets_of_sorted<<<blocks_for(cols + 1, kThreads), kThreads, 0, cuda(stream)>>>(sorted, nnz, cols, t_offsets);
  LACUNA_CUDA_LAUNCHED("offsets_of_sorted");
  expand_rows(stream, rows, nnz, row_offsets, indices);
  gather_indices<<<blocks_for(nnz, kThreads), kThreads, 0, cuda(stream)>>>(indices, permutation, nnz, t_columns);
  LACUNA_CUDA_LAUNCHED("gather_indices");
}

void map_positions(CudaStream stream, const Pattern* from, const Pattern& to, std::int32_t* map) {
  if (to.rows == 0 || to.nnz == 0) return;
  map_positions_kernel<<<blocks_for(to.rows, kWarps), kThreads, 0, cuda(stream)>>>(from ? *from : Pattern{}, to, map);
  LACUNA_CUDA_LAUNCHED("map_positions");
}

}  // namespace lacuna::kernels
