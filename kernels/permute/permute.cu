// Block transposes on CUDA through shared memory, so that reads and writes are both coalesced: tiles of 128 bytes a row,
// moved 16 bytes at a time, where sizes and addresses allow it; else tiles of 32 x 32, moved number by number. bf16 lies in
// the tile by pairs, two rows in a word: number by number the tile, not memory, would be what is waited for.
#include "kernels/common/bf16_pack.cuh"
#include "kernels/common/pack.cuh"
#include "kernels/permute/permute.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;  // rows of a tile that the block moves at a time

/// The block's tile: of matrix (outer, inner), where it begins.
struct TilePlace {
  std::int64_t first_row, first_col, outer, inner;
};

__device__ __forceinline__ TilePlace tile_place(const BlockGrid& grid, unsigned row_tiles, unsigned col_tiles,
                                                int side) {
  const unsigned block = blockIdx.x / (row_tiles * col_tiles), position = blockIdx.x % (row_tiles * col_tiles);
  const auto matrices = static_cast<unsigned>(grid.inner);
  return {std::int64_t{position / col_tiles} * side, std::int64_t{position % col_tiles} * side, block / matrices,
          block % matrices};
}

template <class T>
__global__ void __launch_bounds__(kTile* kTileRows)
    transpose_kernel(BlockGrid grid, unsigned row_tiles, unsigned col_tiles, const T* __restrict__ x,
                     BlockLayout x_layout, T* __restrict__ y, BlockLayout y_layout,
                     const float* __restrict__ row_bias) {
  __shared__ T tile[kTile][kTile + 1];  // the extra column spreads a column over all banks
  const auto [first_row, first_col, outer, inner] = tile_place(grid, row_tiles, col_tiles, kTile);
  x += outer * x_layout.outer_stride + inner * x_layout.inner_stride;
  y += outer * y_layout.outer_stride + inner * y_layout.inner_stride;
  if (row_bias != nullptr) row_bias += outer * grid.rows;
#pragma unroll
  for (int i = threadIdx.y; i < kTile; i += kTileRows) {
    const std::int64_t r = first_row + i;
    const std::int64_t c = first_col + threadIdx.x;
    if (r < grid.rows && c < grid.cols) {
      const T value = x[r * x_layout.ld + c];
      tile[i][threadIdx.x] = row_bias == nullptr ? value : static_cast<T>(static_cast<float>(value) + row_bias[r]);
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

constexpr int kPackThreads = 256;
constexpr int kPackLanes = 8;                         // packs of 16 bytes in a tile's row of 128
constexpr int kPackRows = kPackThreads / kPackLanes;  // rows that the block moves at a time
constexpr int kTileWords = 128 / 4 + 1;               // the extra word spreads a column over the banks

template <class T>
constexpr int kPackOf = 16 / sizeof(T);
template <class T>
constexpr int kSide = kPackLanes* kPackOf<T>;  // rows and columns of a tile: 64 of bf16, 32 of f32

/// Every size, stride and address is a multiple of a pack, so a pack is inside of the matrix or outside.
template <class T>
__global__ void __launch_bounds__(kPackThreads)
    transpose_packs_kernel(BlockGrid grid, unsigned row_tiles, unsigned col_tiles, const T* __restrict__ x,
                           BlockLayout x_layout, T* __restrict__ y, BlockLayout y_layout,
                           const float* __restrict__ row_bias) {
  constexpr int kPack = kPackOf<T>, kPasses = kSide<T> / kPackRows;
  __shared__ std::uint32_t tile[kSide<T>][kTileWords];
  const auto [first_row, first_col, outer, inner] = tile_place(grid, row_tiles, col_tiles, kSide<T>);
  x += outer * x_layout.outer_stride + inner * x_layout.inner_stride;
  y += outer * y_layout.outer_stride + inner * y_layout.inner_stride;
  const int lane = threadIdx.x % kPackLanes, line = threadIdx.x / kPackLanes;

  union Words {
    Pack<T, kPack> numbers;
    std::uint32_t words[4];
    __device__ Words() : words{} {}
  };
  Words in[kPasses];
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const std::int64_t r = first_row + pass * kPackRows + line, c = first_col + lane * kPack;
    if (r >= grid.rows || c >= grid.cols) continue;
    in[pass].numbers = load_pack<kPack>(x + r * x_layout.ld + c);
    if (row_bias == nullptr) continue;
    const float shift = row_bias[outer * grid.rows + r];
#pragma unroll
    for (int v = 0; v < kPack; ++v)
      in[pass].numbers.v[v] = static_cast<T>(static_cast<float>(in[pass].numbers.v[v]) + shift);
  }
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass)
#pragma unroll
    for (int w = 0; w < 4; ++w) tile[pass * kPackRows + line][lane * 4 + w] = in[pass].words[w];
  __syncthreads();
  constexpr int kRowNumbers = kTileWords * 4 / sizeof(T);
  const T* numbers = reinterpret_cast<const T*>(&tile[0][0]);
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int column = pass * kPackRows + line;
    const std::int64_t c = first_col + column, r = first_row + lane * kPack;
    if (r >= grid.rows || c >= grid.cols) continue;
    Pack<T, kPack> out;
#pragma unroll
    for (int v = 0; v < kPack; ++v) out.v[v] = numbers[(lane * kPack + v) * kRowNumbers + column];
    store_pack<kPack>(y + c * y_layout.ld + r, out);
  }
}

/// The same for numbers of 16 bits: a word of the tile holds those of two rows, so that it is moved in whole words.
template <class T>
__global__ void __launch_bounds__(kPackThreads)
    transpose_pairs_kernel(BlockGrid grid, unsigned row_tiles, unsigned col_tiles, const T* __restrict__ x,
                           BlockLayout x_layout, T* __restrict__ y, BlockLayout y_layout,
                           const float* __restrict__ row_bias) {
  constexpr int kPack = kPackOf<T>, kPasses = kSide<T> / kPackRows;
  static_assert(sizeof(T) == 2 && kSide<T> == 2 * kPackRows);
  __shared__ std::uint32_t tile[kSide<T> * kTileWords];  // [column][pair of rows]
  const auto place = [](int column, int word) { return column * kTileWords + (word ^ (column & kPackRows ? 4 : 0)); };
  const auto [first_row, first_col, outer, inner] = tile_place(grid, row_tiles, col_tiles, kSide<T>);
  x += outer * x_layout.outer_stride + inner * x_layout.inner_stride;
  y += outer * y_layout.outer_stride + inner * y_layout.inner_stride;
  const int lane = threadIdx.x % kPackLanes, line = threadIdx.x / kPackLanes;
  {
    const std::int64_t r = first_row + 2 * line, c = first_col + lane * kPack;
    uint4 rows[2] = {};
#pragma unroll
    for (int i = 0; i < 2; ++i)
      if (r < grid.rows && c < grid.cols) rows[i] = *reinterpret_cast<const uint4*>(x + (r + i) * x_layout.ld + c);
    if (row_bias != nullptr && r < grid.rows) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float shift = row_bias[outer * grid.rows + r + i];
        float values[kPack];
        unpack_bf16(rows[i], values);
#pragma unroll
        for (int v = 0; v < kPack; ++v) values[v] += shift;
        rows[i] = pack_bf16(values);
      }
    }
    const std::uint32_t even[4] = {rows[0].x, rows[0].y, rows[0].z, rows[0].w};
    const std::uint32_t odd[4] = {rows[1].x, rows[1].y, rows[1].z, rows[1].w};
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      tile[place(lane * kPack + 2 * v, line)] = __byte_perm(even[v], odd[v], 0x5410);
      tile[place(lane * kPack + 2 * v + 1, line)] = __byte_perm(even[v], odd[v], 0x7632);
    }
  }
  __syncthreads();
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int column = pass * kPackRows + line;
    const std::int64_t c = first_col + column, r = first_row + lane * kPack;
    if (r >= grid.rows || c >= grid.cols) continue;
    uint4 out;
    out.x = tile[place(column, lane * 4)], out.y = tile[place(column, lane * 4 + 1)];
    out.z = tile[place(column, lane * 4 + 2)], out.w = tile[place(column, lane * 4 + 3)];
    *reinterpret_cast<uint4*>(y + c * y_layout.ld + r) = out;
  }
}

/// Whether the kernels of packs take it.
template <class T>
bool moves_packs(const BlockGrid& grid, const T* x, const BlockLayout& x_layout, const T* y,
                 const BlockLayout& y_layout) {
  const auto whole = [](std::int64_t size) { return size % kPackOf<T> == 0; };
  const auto fits = [&](const T* data, const BlockLayout& layout) {
    return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && whole(layout.ld) && whole(layout.outer_stride) &&
           whole(layout.inner_stride);
  };
  return whole(grid.rows) && whole(grid.cols) && fits(x, x_layout) && fits(y, y_layout);
}

constexpr int kCopyThreads = 256;
constexpr std::int64_t kCopySpan = kCopyThreads * 8;

template <class T>
__global__ void __launch_bounds__(kCopyThreads) copy_matrix_kernel(Dense<const T> x, Dense<T> y, std::int64_t pieces) {
  const std::int64_t row = blockIdx.x / pieces;
  const std::int64_t begin = blockIdx.x % pieces * kCopySpan;
  const std::int64_t end = min(begin + kCopySpan, x.cols);
#pragma unroll 8
  for (std::int64_t j = begin + threadIdx.x; j < end; j += kCopyThreads)
    y.data[row * y.ld + j] = x.data[row * x.ld + j];
}

}  // namespace

template <class T>
void transpose_blocks(CudaStream stream, const BlockGrid& grid, const T* x, const BlockLayout& x_layout, T* y,
                      const BlockLayout& y_layout, const wide_t<T>* row_bias) {
  const auto launch = [&](auto kernel, int side, dim3 threads) {
    const std::int64_t row_tiles = (grid.rows + side - 1) / side, col_tiles = (grid.cols + side - 1) / side;
    const std::int64_t blocks = grid.outer * grid.inner * row_tiles * col_tiles;
    if (blocks == 0) return;
    kernel<<<static_cast<unsigned>(blocks), threads, 0, (cudaStream_t)stream.handle>>>(
        grid, static_cast<unsigned>(row_tiles), static_cast<unsigned>(col_tiles), x, x_layout, y, y_layout, row_bias);
  };
  if (moves_packs(grid, x, x_layout, static_cast<const T*>(y), y_layout)) {
    if constexpr (sizeof(T) == 2)
      launch(transpose_pairs_kernel<T>, kSide<T>, dim3(kPackThreads));
    else
      launch(transpose_packs_kernel<T>, kSide<T>, dim3(kPackThreads));
  } else {
    launch(transpose_kernel<T>, kTile, dim3(kTile, kTileRows));
  }
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

#define LACUNA_INSTANTIATE(T)                                                                       \
  template void transpose_blocks<T>(CudaStream, const BlockGrid&, const T*, const BlockLayout&, T*, \
                                    const BlockLayout&, const float*);                              \
  template void copy_matrix<T>(CudaStream, const Dense<const T>&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
