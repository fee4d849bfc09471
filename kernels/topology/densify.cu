// Sparse to dense on CUDA. A tile is made in shared memory, so that global memory sees whole lines, once, instead of zeros
// and then scattered words.
#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kTile = 4096;  // elements
constexpr std::int64_t kMaxBatchBlocks = 65535;

// ---- a row a block ---------------------------------------------------------------------------------------------------

constexpr int kRowThreads = 128;  // few: a block's steps wait for one another, so that other blocks must fill in
constexpr int kRowAhead = 2;      // groups of four entries a thread reads before the row is ready for them
constexpr int kLeastRow = 512;    // elements of a row; shorter ones share a block

template <class T>
struct Four;
template <>
struct Four<float> {
  using type = float4;
};
template <>
struct Four<Bf16> {
  using type = uint2;  // only carries bits
};

/// Entries e to e + 3, e a multiple of four. They are read once: nothing else need leave the caches for them.
template <class T>
struct Entries {
  int4 columns;
  typename Four<T>::type values;

  __device__ __forceinline__ void load(const Csr<const T>& a, const T* from, unsigned e) {
    if (e + 4 <= a.nnz) {
      columns = __ldcs(reinterpret_cast<const int4*>(a.col_indices + e));
      values = __ldcs(reinterpret_cast<const typename Four<T>::type*>(from + e));
      return;
    }
    const auto left = static_cast<unsigned>(a.nnz - e);  // 1 to 3
    columns.x = a.col_indices[e];
    reinterpret_cast<T*>(&values)[0] = from[e];
    if (left > 1) columns.y = a.col_indices[e + 1], reinterpret_cast<T*>(&values)[1] = from[e + 1];
    if (left > 2) columns.z = a.col_indices[e + 2], reinterpret_cast<T*>(&values)[2] = from[e + 2];
  }
  /// Those in [begin, end).
  __device__ __forceinline__ void put(T* row, unsigned e, unsigned begin, unsigned end) const {
    const T* v = reinterpret_cast<const T*>(&values);
    if (e >= begin && e < end) row[columns.x] = v[0];
    if (e + 1 >= begin && e + 1 < end) row[columns.y] = v[1];
    if (e + 2 >= begin && e + 2 < end) row[columns.z] = v[2];
    if (e + 3 < end) row[columns.w] = v[3];  // e + 3 >= begin, for e starts at begin & ~3
  }
};

/// Rows of whole float4s, no longer than a tile; columns and values on the boundaries of four.
template <class T>
__global__ void __launch_bounds__(kRowThreads) densify_rows_kernel(const Csr<const T> a, const Dense<T> out) {
  extern __shared__ float4 image[];
  T* row = reinterpret_cast<T*>(image);
  const int vectors = static_cast<int>(out.cols * sizeof(T) / 16);
  wait_for_previous();
  const auto begin = static_cast<unsigned>(__ldg(a.row_offsets + blockIdx.x)),
             end = static_cast<unsigned>(__ldg(a.row_offsets + blockIdx.x + 1));
  const T* from = a.values + blockIdx.y * a.values_stride;
  const unsigned first = (begin & ~3u) + threadIdx.x * 4;
  constexpr unsigned kStep = kRowThreads * 4;
  Entries<T> ahead[kRowAhead];  // on their way while the row is cleared
#pragma unroll
  for (unsigned i = 0; i < kRowAhead; ++i) {
    if (first + i * kStep < end) ahead[i].load(a, from, first + i * kStep);
  }
  for (int i = threadIdx.x; i < vectors; i += kRowThreads) image[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  __syncthreads();
#pragma unroll
  for (unsigned i = 0; i < kRowAhead; ++i) {
    if (first + i * kStep < end) ahead[i].put(row, first + i * kStep, begin, end);
  }
  for (unsigned e = first + kRowAhead * kStep; e < end; e += kStep) {
    Entries<T> entries;
    entries.load(a, from, e);
    entries.put(row, e, begin, end);
  }
  __syncthreads();
  auto* to = reinterpret_cast<float4*>(out.data + blockIdx.y * out.batch_stride + blockIdx.x * out.ld);
  for (int i = threadIdx.x; i < vectors; i += kRowThreads) to[i] = image[i];
}

template <class T>
bool rows_are_whole(const Csr<const T>& a, const Dense<T>& out) {
  constexpr std::int64_t kVector = 16 / sizeof(T);
  const auto on = [](const void* pointer, std::size_t bytes) {
    return reinterpret_cast<std::uintptr_t>(pointer) % bytes == 0;
  };
  return a.cols >= kLeastRow && a.cols <= kTile && a.rows <= 0x7fffffff && out.batch <= kMaxBatchBlocks &&
         a.cols % kVector == 0 && out.ld % kVector == 0 && on(out.data, 16) && on(a.col_indices, 16) &&
         on(a.values, 4 * sizeof(T)) &&
         (out.batch <= 1 || (out.batch_stride % kVector == 0 && a.values_stride % 4 == 0));
}

// ---- anything --------------------------------------------------------------------------------------------------------

/// First of entries [low, high) whose column is at least `column`.
__device__ int lower_bound(const std::int32_t* col_indices, std::int64_t low, std::int64_t high, std::int64_t column) {
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (col_indices[middle] < column)
      low = middle + 1;
    else
      high = middle;
  }
  return static_cast<int>(low);
}

/// A tile is `tile_rows` whole rows that lie end to end, or a segment of one row. It is made in shared memory, so that
/// global memory sees whole lines, once, instead of zeros and then scattered words.
struct DensifyTiles {
  std::int64_t rows, cols;
  std::int64_t segments;  // of a row; 1 when tile_rows > 1
  int tile_rows, tile_cols;
};

template <class T>
__global__ void __launch_bounds__(kThreads)
    densify_kernel(const Csr<const T> a, const Dense<T> out, const DensifyTiles tiles) {
  constexpr int kVector = 16 / sizeof(T);  // elements of one float4, which here only carries bits
  __shared__ float4 shared[kTile / kVector];
  __shared__ int range[2];
  T* tile = reinterpret_cast<T*>(shared);
  const std::int64_t row = blockIdx.x / tiles.segments * tiles.tile_rows;
  const std::int64_t column = blockIdx.x % tiles.segments * tiles.tile_cols;
  const int num_rows = static_cast<int>(min(std::int64_t{tiles.tile_rows}, tiles.rows - row));
  const int width = static_cast<int>(min(std::int64_t{tiles.tile_cols}, tiles.cols - column));
  const int count = num_rows * width;
  wait_for_previous();
  if (tiles.segments > 1 && threadIdx.x < 2) {
    range[threadIdx.x] =
        lower_bound(a.col_indices, a.row_offsets[row], a.row_offsets[row + 1], column + threadIdx.x * width);
  }

  for (std::int64_t matrix = blockIdx.z; matrix < out.batch; matrix += gridDim.z) {
    const T* values = a.values + matrix * a.values_stride;
    T* to = out.data + matrix * out.batch_stride + row * out.ld + column;
    for (int i = threadIdx.x; i < (count + kVector - 1) / kVector; i += kThreads)
      shared[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    __syncthreads();
    if (tiles.segments > 1) {
      for (std::int64_t i = std::int64_t{range[0]} + threadIdx.x; i < range[1]; i += kThreads)
        tile[a.col_indices[i] - column] = values[i];
    } else {
      // Few rows: all threads take each in turn; many: a warp takes a row.
      const int team = num_rows >= kWarps ? 32 : kThreads;
      for (int r = threadIdx.x / team; r < num_rows; r += kThreads / team) {
        const std::int64_t end = a.row_offsets[row + r + 1];
        for (std::int64_t i = a.row_offsets[row + r] + threadIdx.x % team; i < end; i += team)
          tile[r * width + a.col_indices[i]] = values[i];
      }
    }
    __syncthreads();
    const int vectors = reinterpret_cast<std::uintptr_t>(to) % 16 == 0 ? count / kVector : 0;
    for (int i = threadIdx.x; i < vectors; i += kThreads) reinterpret_cast<float4*>(to)[i] = shared[i];
    for (int i = vectors * kVector + threadIdx.x; i < count; i += kThreads) to[i] = tile[i];
    __syncthreads();
  }
}

}  // namespace

template <class T>
void densify(CudaStream stream, const Csr<const T>& a, const Dense<T>& out) {
  if (a.rows == 0 || a.cols == 0 || out.batch == 0) return;
  if (rows_are_whole(a, out)) {
    const dim3 grid(static_cast<unsigned>(a.rows), static_cast<unsigned>(out.batch));
    return launch_early(stream, densify_rows_kernel<T>, grid, kRowThreads, static_cast<std::size_t>(a.cols) * sizeof(T),
                        1, a, out);
  }
  DensifyTiles tiles = {};
  tiles.rows = a.rows;
  tiles.cols = a.cols;
  tiles.tile_cols = static_cast<int>(std::min<std::int64_t>(a.cols, kTile));
  tiles.tile_rows = out.ld == a.cols ? std::max(1, kTile / tiles.tile_cols) : 1;
  if (a.cols > kTile) tiles.tile_rows = 1;
  tiles.segments = (a.cols + tiles.tile_cols - 1) / tiles.tile_cols;
  const std::int64_t blocks = (a.rows + tiles.tile_rows - 1) / tiles.tile_rows * tiles.segments;
  if (blocks > 0x7fffffff)
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidConfiguration), "densify: more than 2^31 - 1 tiles", false};
  const dim3 grid(static_cast<unsigned>(blocks), 1, static_cast<unsigned>(std::min(out.batch, kMaxBatchBlocks)));
  launch_early(stream, densify_kernel<T>, grid, kThreads, 0, 1, a, out, tiles);
}

template void densify<float>(CudaStream, const Csr<const float>&, const Dense<float>&);
template void densify<Bf16>(CudaStream, const Csr<const Bf16>&, const Dense<Bf16>&);

}  // namespace lacuna::kernels
