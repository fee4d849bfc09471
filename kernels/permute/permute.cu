// Block transposes on CUDA: 32 x 32 tiles through shared memory, so that reads and writes are both coalesced.
#include "kernels/permute/permute.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // rows of a tile that the block moves at a time

__global__ void __launch_bounds__(kTile * kTileRows)
    transpose_kernel(BlockGrid grid, unsigned row_tiles, unsigned col_tiles, const float* __restrict__ x,
                     BlockLayout x_layout, float* __restrict__ y, BlockLayout y_layout,
                     const float* __restrict__ row_bias) {
  __shared__ float tile[kTile][kTile + 1];  // the extra column spreads a column over all banks
  const unsigned block = blockIdx.x / (row_tiles * col_tiles);
  const unsigned position = blockIdx.x % (row_tiles * col_tiles);
  const std::int64_t first_row = std::int64_t{position / col_tiles} * kTile;
  const std::int64_t first_col = std::int64_t{position % col_tiles} * kTile;
  const std::int64_t outer = block / static_cast<unsigned>(grid.inner);
  const std::int64_t inner = block % static_cast<unsigned>(grid.inner);
  x += outer * x_layout.outer_stride + inner * x_layout.inner_stride;
  y += outer * y_layout.outer_stride + inner * y_layout.inner_stride;
  if (row_bias != nullptr) row_bias += outer * grid.rows;
#pragma unroll
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    const std::int64_t r = first_row + i;
    const std::int64_t c = first_col + threadIdx.x;
    if (r < grid.rows && c < grid.cols) {
      const float value = x[r * x_layout.ld + c];
      tile[i][threadIdx.x] = row_bias == nullptr ? value : value + row_bias[r];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    const std::int64_t c = first_col + i;
    const std::int64_t r = first_row + threadIdx.x;
    if (r < grid.rows && c < grid.cols) y[c * y_layout.ld + r] = tile[threadIdx.x][i];
  }
}

constexpr int kCopyThreads = 256;
constexpr std::int64_t kCopySpan = kCopyThreads * 8;

__global__ void __launch_bounds__(kCopyThreads)
    copy_matrix_kernel(Dense<const float> x, Dense<float> y, std::int64_t pieces) {
  const std::int64_t row = blockIdx.x / pieces;
  const std::int64_t begin = blockIdx.x % pieces * kCopySpan;
  const std::int64_t end = min(begin + kCopySpan, x.cols);
#pragma unroll 8
  for (std::int64_t j = begin + threadIdx.x; j < end; j += kCopyThreads) y.data[row * y.ld + j] = x.data[row * x.ld + j];
}

}  // namespace

template <class T>
void transpose_blocks(CudaStream stream, const BlockGrid& grid, const T* x, const BlockLayout& x_layout, T* y,
                      const BlockLayout& y_layout, const wide_t<T>* row_bias) {
  const std::int64_t row_tiles = (grid.rows + kTile - 1) / kTile;
  const std::int64_t col_tiles = (grid.cols + kTile - 1) / kTile;
  const std::int64_t blocks = grid.outer * grid.inner * row_tiles * col_tiles;
  if (blocks == 0) return;
  transpose_kernel<<<static_cast<unsigned>(blocks), dim3(kTile, kTileRows), 0, (cudaStream_t)stream.handle>>>(
      grid, static_cast<unsigned>(row_tiles), static_cast<unsigned>(col_tiles), x, x_layout, y, y_layout, row_bias);
  LACUNA_CUDA_LAUNCHED("transpose_blocks");
}

template <class T>
void copy_matrix(CudaStream stream, const Dense<const T>& x, const Dense<T>& y) {
  if (x.rows == 0 || x.cols == 0) return;
  const std::int64_t pieces = (x.cols + kCopySpan - 1) / kCopySpan;
  copy_matrix_kernel<<<static_cast<unsigned>(x.rows * pieces), kCopyThreads, 0, (cudaStream_t)stream.handle>>>(x, y,
                                                                                                            pieces);
  LACUNA_CUDA_LAUNCHED("copy_matrix");
}

template void transpose_blocks<float>(CudaStream, const BlockGrid&, const float*, const BlockLayout&, float*,
                                      const BlockLayout&, const float*);
template void copy_matrix<float>(CudaStream, const Dense<const float>&, const Dense<float>&);

}  // namespace lacuna::kernels
