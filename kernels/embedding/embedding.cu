// The gradient sorts the columns by token (stably, so each token's columns stay in order) and sums runs of equal tokens
// in stretches of kStretch sorted positions: a block per stretch writes the sum of each run that begins there to its row
// of the table, and the sum of a run that began earlier to `carried`; a second pass adds the carried sums in order.
#include <cuda_runtime.h>

#include <algorithm>
#include <cub/device/device_radix_sort.cuh>

#include "kernels/embedding/embedding.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kTile = 32;
constexpr int kTileRows = 8;
constexpr int kStretch = 64;
constexpr int kThreads = 128;
constexpr int kAhead = 16;  // rows read before the first is added: a store between them would make each load wait
static_assert(kStretch % kAhead == 0 && kStretch <= kThreads);

cudaStream_t handle_of(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.handle); }

/// Tiles of 32 x 32 through shared memory, so that table rows are read and output rows written in whole lines.
/// blockIdx.x: columns of out; blockIdx.y strides over features.
template <class T>
__global__ void lookup_kernel(const float* table, std::int64_t table_ld, std::int64_t vocab, const std::int32_t* tokens,
                              T* out, std::int64_t out_ld, std::int64_t d, std::int64_t n) {
  __shared__ float tile[kTile][kTile + 1];
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  for (std::int64_t feature0 = static_cast<std::int64_t>(blockIdx.y) * kTile; feature0 < d;
       feature0 += static_cast<std::int64_t>(gridDim.y) * kTile) {
    for (int r = threadIdx.y; r < kTile; r += kTileRows) {
      const std::int64_t column = column0 + r, feature = feature0 + threadIdx.x;
      if (column < n && feature < d) {
        const std::int64_t token = tokens[column];
        tile[r][threadIdx.x] = token >= 0 && token < vocab ? table[token * table_ld + feature] : 0.0f;
      }
    }
    __syncthreads();
    for (int r = threadIdx.y; r < kTile; r += kTileRows) {
      const std::int64_t column = column0 + threadIdx.x, feature = feature0 + r;
      if (column < n && feature < d) out[feature * out_ld + column] = static_cast<T>(tile[threadIdx.x][r]);
    }
    __syncthreads();
  }
}

/// to [n, d] = transpose of from [d, n], in f32.
template <class T>
__global__ void transpose_kernel(const T* from, std::int64_t from_ld, float* to, std::int64_t d, std::int64_t n) {
  __shared__ float tile[kTile][kTile + 1];
  const std::int64_t column0 = static_cast<std::int64_t>(blockIdx.x) * kTile;
  for (std::int64_t feature0 = static_cast<std::int64_t>(blockIdx.y) * kTile; feature0 < d;
       feature0 += static_cast<std::int64_t>(gridDim.y) * kTile) {
    for (int r = threadIdx.y; r < kTile; r += kTileRows) {
      const std::int64_t column = column0 + threadIdx.x, feature = feature0 + r;
      if (column < n && feature < d) tile[r][threadIdx.x] = from[feature * from_ld + column];
    }
    __syncthreads();
    for (int r = threadIdx.y; r < kTile; r += kTileRows) {
      const std::int64_t column = column0 + r, feature = feature0 + threadIdx.x;
      if (column < n && feature < d) to[column * d + feature] = tile[threadIdx.x][r];
    }
    __syncthreads();
  }
}

dim3 tile_grid(std::int64_t d, std::int64_t n) {
  return dim3(static_cast<unsigned>((n + kTile - 1) / kTile),
              static_cast<unsigned>(std::clamp<std::int64_t>((d + kTile - 1) / kTile, 1, 65535)));
}

/// A block per stretch of columns (x) and kThreads features (y): a stretch alone would leave most of the device idle.
dim3 feature_grid(std::int64_t d, std::int64_t n) {
  return dim3(static_cast<unsigned>((n + kStretch - 1) / kStretch),
              static_cast<unsigned>(std::clamp<std::int64_t>((d + kThreads - 1) / kThreads, 1, 65535)));
}

/// Sort keys: the token, or `vocab` for one outside the table, which then sorts last and is skipped.
__global__ void keys_kernel(const std::int32_t* tokens, std::int64_t n, std::int32_t vocab, std::uint32_t* keys,
                            std::int32_t* columns) {
  const std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (j >= n) return;
  const std::int32_t token = tokens[j];
  keys[j] = static_cast<std::uint32_t>(token >= 0 && token < vocab ? token : vocab);
  columns[j] = static_cast<std::int32_t>(j);
}

/// Features between a thread's own and its next.
__device__ __forceinline__ std::int64_t feature_step() { return std::int64_t{gridDim.y} * kThreads; }

/// Blocks of feature_grid: a stretch each, and kThreads of the features. A feature's terms are added in the order of the
/// sorted columns, however they are read.
__global__ void __launch_bounds__(kThreads)
    stretch_sums_kernel(const std::uint32_t* keys, const std::int32_t* columns, const float* rows, std::int64_t n,
                        std::int64_t d, std::uint32_t vocab, float* dtable, std::int64_t dtable_ld, float* carried) {
  __shared__ std::uint32_t key[kStretch];
  __shared__ std::int32_t column[kStretch];
  __shared__ bool begins_earlier;
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kStretch;
  const int size = static_cast<int>(n - begin < kStretch ? n - begin : kStretch);
  if (threadIdx.x < size) {
    key[threadIdx.x] = keys[begin + threadIdx.x];
    column[threadIdx.x] = columns[begin + threadIdx.x];
  }
  if (threadIdx.x == 0) begins_earlier = begin > 0 && keys[begin - 1] == keys[begin];
  __syncthreads();
  for (std::int64_t f = std::int64_t{blockIdx.y} * kThreads + threadIdx.x; f < d; f += feature_step()) {
    float sum = 0;
    bool earlier = begins_earlier;
    for (int first = 0; first < size; first += kAhead) {
      float terms[kAhead];
#pragma unroll
      for (int a = 0; a < kAhead; ++a) terms[a] = first + a < size ? rows[column[first + a] * d + f] : 0.0f;
#pragma unroll
      for (int a = 0; a < kAhead; ++a) {
        const int i = first + a;
        if (i >= size) break;
        sum += terms[a];
        if (i + 1 < size && key[i + 1] == key[i]) continue;  // the run goes on
        if (earlier) {
          carried[blockIdx.x * d + f] = sum;
        } else if (key[i] < vocab) {
          dtable[key[i] * dtable_ld + f] = sum;  // a run begins once, so nobody else writes this row in this pass
        }
        sum = 0;
        earlier = false;
      }
    }
  }
}

/// Blocks as above: if a run that begins in the stretch goes on past its end, adds what later stretches carried of it.
__global__ void __launch_bounds__(kThreads)
    carry_kernel(const std::uint32_t* keys, std::int64_t n, std::int64_t d, std::uint32_t vocab, const float* carried,
                 float* dtable, std::int64_t dtable_ld) {
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kStretch, end = begin + kStretch;
  if (end >= n) return;
  const std::uint32_t token = keys[end - 1];
  if (token >= vocab || keys[end] != token) return;
  if (begin > 0 && keys[begin - 1] == token) return;  // it began before this stretch (keys are sorted)
  for (std::int64_t f = std::int64_t{blockIdx.y} * kThreads + threadIdx.x; f < d; f += feature_step()) {
    float sum = dtable[token * dtable_ld + f];
    std::int64_t stretch = blockIdx.x + 1ll;
    for (std::int64_t at = end; at < n && keys[at] == token; at += kStretch) sum += carried[stretch++ * d + f];
    dtable[token * dtable_ld + f] = sum;
  }
}

/// Where things lie in the scratch memory; every part begins on 256 bytes.
struct Layout {
  std::size_t keys = 0, sorted_keys = 0, columns = 0, sorted_columns = 0, rows = 0, carried = 0, sort = 0, total = 0;
  std::size_t sort_bytes = 0;
  int key_bits = 0;
};

Layout layout_of(std::int64_t d, std::int64_t n, std::int64_t vocab) {
  Layout layout;
  const auto take = [&](std::size_t bytes) {
    const std::size_t at = layout.total;
    layout.total += (bytes + 255) / 256 * 256;
    return at;
  };
  const auto count = static_cast<std::size_t>(n), features = static_cast<std::size_t>(d);
  for (std::int64_t range = vocab; range > 0; range /= 2) ++layout.key_bits;  // keys reach vocab itself
  layout.key_bits = std::max(layout.key_bits, 1);
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
      nullptr, layout.sort_bytes, static_cast<const std::uint32_t*>(nullptr), static_cast<std::uint32_t*>(nullptr),
      static_cast<const std::int32_t*>(nullptr), static_cast<std::int32_t*>(nullptr), n, 0, layout.key_bits));
  layout.keys = take(count * 4);
  layout.sorted_keys = take(count * 4);
  layout.columns = take(count * 4);
  layout.sorted_columns = take(count * 4);
  layout.rows = take(count * features * 4);
  layout.carried = take((count + kStretch - 1) / kStretch * features * 4);
  layout.sort = take(layout.sort_bytes);
  return layout;
}

}  // namespace

template <class T>
void embedding(CudaStream stream, const Dense<const acc_t<T>>& table, const std::int32_t* tokens, const Dense<T>& out) {
  const std::int64_t d = out.rows, n = out.cols;
  if (d == 0 || n == 0) return;
  lookup_kernel<<<tile_grid(d, n), dim3(kTile, kTileRows), 0, handle_of(stream)>>>(table.data, table.ld, table.rows,
                                                                                   tokens, out.data, out.ld, d, n);
  LACUNA_CUDA_LAUNCHED("embedding");
}

template <class T>
std::size_t embedding_gradient_scratch_bytes(CudaStream, const Dense<const T>& dout, std::int64_t vocab) {
  return dout.rows == 0 || dout.cols == 0 ? 0 : layout_of(dout.rows, dout.cols, vocab).total;
}

template <class T>
void embedding_gradient(CudaStream stream, const Dense<const T>& dout, const std::int32_t* tokens,
                        const Dense<acc_t<T>>& dtable, void* scratch) {
  const std::int64_t d = dout.rows, n = dout.cols, vocab = dtable.rows;
  const cudaStream_t handle = handle_of(stream);
  if (vocab == 0 || d == 0) return;
  LACUNA_CUDA_CHECK(cudaMemset2DAsync(dtable.data, static_cast<std::size_t>(dtable.ld) * sizeof(float), 0,
                                      static_cast<std::size_t>(d) * sizeof(float), static_cast<std::size_t>(vocab),
                                      handle));
  if (n == 0) return;
  Layout layout = layout_of(d, n, vocab);
  auto* base = static_cast<char*>(scratch);
  auto* keys = reinterpret_cast<std::uint32_t*>(base + layout.keys);
  auto* sorted_keys = reinterpret_cast<std::uint32_t*>(base + layout.sorted_keys);
  auto* columns = reinterpret_cast<std::int32_t*>(base + layout.columns);
  auto* sorted_columns = reinterpret_cast<std::int32_t*>(base + layout.sorted_columns);
  auto* rows = reinterpret_cast<float*>(base + layout.rows);
  auto* carried = reinterpret_cast<float*>(base + layout.carried);

  keys_kernel<<<static_cast<unsigned>((n + kThreads - 1) / kThreads), kThreads, 0, handle>>>(
      tokens, n, static_cast<std::int32_t>(vocab), keys, columns);
  LACUNA_CUDA_LAUNCHED("embedding_keys");
  LACUNA_CUDA_CHECK(cub::DeviceRadixSort::SortPairs(
      base + layout.sort, layout.sort_bytes, static_cast<const std::uint32_t*>(keys), sorted_keys,
      static_cast<const std::int32_t*>(columns), sorted_columns, n, 0, layout.key_bits, handle));
  transpose_kernel<<<tile_grid(d, n), dim3(kTile, kTileRows), 0, handle>>>(dout.data, dout.ld, rows, d, n);
  LACUNA_CUDA_LAUNCHED("embedding_transpose");
  const dim3 stretches = feature_grid(d, n);
  const auto limit = static_cast<std::uint32_t>(vocab);
  stretch_sums_kernel<<<stretches, kThreads, 0, handle>>>(sorted_keys, sorted_columns, rows, n, d, limit, dtable.data,
                                                          dtable.ld, carried);
  LACUNA_CUDA_LAUNCHED("embedding_stretch_sums");
  carry_kernel<<<stretches, kThreads, 0, handle>>>(sorted_keys, n, d, limit, carried, dtable.data, dtable.ld);
  LACUNA_CUDA_LAUNCHED("embedding_carry");
}

#define LACUNA_INSTANTIATE(T)                                                                                      \
  template void embedding<T>(CudaStream, const Dense<const float>&, const std::int32_t*, const Dense<T>&);         \
  template std::size_t embedding_gradient_scratch_bytes<T>(CudaStream, const Dense<const T>&, std::int64_t);       \
  template void embedding_gradient<T>(CudaStream, const Dense<const T>&, const std::int32_t*, const Dense<float>&, \
                                      void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
