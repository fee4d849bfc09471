// Values over patterns on CUDA: gather, densify, sample. Each output element is written once, by one thread.
#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTile = 4096;  // elements of a densified tile, in shared memory
constexpr std::int64_t kMaxBatchBlocks = 65535;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

unsigned batch_blocks(std::int64_t batch) { return static_cast<unsigned>(std::min(batch, kMaxBatchBlocks)); }

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_or_zero_kernel(const T* __restrict__ values, std::int64_t num_values, const std::int32_t* __restrict__ index,
                          std::int64_t num_index, std::int64_t batch, T* __restrict__ out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= num_index) return;
  const std::int32_t at = index[i];
  for (std::int64_t b = blockIdx.z; b < batch; b += gridDim.z)
    out[b * num_index + i] = at < 0 ? T(0) : values[b * num_values + at];
}

/// First of entries [low, high) whose column is at least `column`.
__device__ int lower_bound(const std::int32_t* col_indices, std::int64_t low, std::int64_t high, std::int64_t column) {
  while (low < high) {
    const std::int64_t middle = (low + high) / 2;
    if (col_indices[middle] < column) low = middle + 1;
    else high = middle;
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
      const int team = num_rows >= kWarps ? kWarp : kThreads;
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

/// `team` threads (a power of two) take a row.
template <class T>
__global__ void __launch_bounds__(kThreads) sample_kernel(const Dense<const T> a, const Csr<T> out, int team) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t row = thread / team;
  if (row >= out.rows) return;
  const std::int64_t begin = out.row_offsets[row], end = out.row_offsets[row + 1];
  for (std::int64_t matrix = blockIdx.z; matrix < out.batch; matrix += gridDim.z) {
    const T* from = a.data + matrix * a.batch_stride + row * a.ld;
    T* values = out.values + matrix * out.values_stride;
#pragma unroll 4
    for (std::int64_t i = begin + thread % team; i < end; i += team) values[i] = from[out.col_indices[i]];
  }
}

}  // namespace

template <class T>
void gather_or_zero(CudaStream stream, const T* values, std::int64_t num_values, const std::int32_t* index,
                    std::int64_t num_index, std::int64_t batch, T* out) {
  if (num_index == 0 || batch == 0) return;
  const dim3 grid(static_cast<unsigned>((num_index + kThreads - 1) / kThreads), 1, batch_blocks(batch));
  gather_or_zero_kernel<<<grid, kThreads, 0, cuda(stream)>>>(values, num_values, index, num_index, batch, out);
  LACUNA_CUDA_LAUNCHED("gather_or_zero");
}

template <class T>
void densify(CudaStream stream, const Csr<const T>& a, const Dense<T>& out) {
  if (a.rows == 0 || a.cols == 0 || out.batch == 0) return;
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
  const dim3 grid(static_cast<unsigned>(blocks), 1, batch_blocks(out.batch));
  densify_kernel<<<grid, kThreads, 0, cuda(stream)>>>(a, out, tiles);
  LACUNA_CUDA_LAUNCHED("densify");
}

template <class T>
void sample(CudaStream stream, const Dense<const T>& a, const Csr<T>& out) {
  if (out.rows == 0 || out.nnz == 0 || out.batch == 0) return;
  const int team = out.nnz / out.rows >= 256 ? kThreads : kWarp;
  const dim3 grid(static_cast<unsigned>((out.rows * team + kThreads - 1) / kThreads), 1, batch_blocks(out.batch));
  sample_kernel<<<grid, kThreads, 0, cuda(stream)>>>(a, out, team);
  LACUNA_CUDA_LAUNCHED("sample");
}

#define LACUNA_INSTANTIATE(T)                                                                                                \
  template void gather_or_zero<T>(CudaStream, const T*, std::int64_t, const std::int32_t*, std::int64_t, std::int64_t, T*); \
  template void densify<T>(CudaStream, const Csr<const T>&, const Dense<T>&);                                               \
  template void sample<T>(CudaStream, const Dense<const T>&, const Csr<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
