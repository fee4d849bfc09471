// Scaled f16 copies: rows of a dense matrix, and a sparse matrix made dense. Both are bound by memory.
#include <cuda_fp16.h>

#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/half_product/half_product.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kTop = 14;           // a row's largest number is brought to [2^kTop, 2^(kTop + 1))
constexpr int kLeast = -112;       // exponents below are taken for this one: factors and their inverses stay normal
constexpr int kTile = 8192;        // elements of a densified tile, in shared memory
constexpr int kValueBlocks = 264;  // that look for the largest value, beside the rows
constexpr unsigned kInfinity = 0x7f800000u;
constexpr std::int64_t kMostBlocks = 0x7fffffff;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The bits of |x|, or 0 where it is not finite.
__device__ __forceinline__ unsigned magnitude(float x) {
  const unsigned bits = __float_as_uint(x) & 0x7fffffffu;
  return bits < kInfinity ? bits : 0u;
}

/// floor(log2) of a magnitude; -127 for zero and denormals.
__device__ __forceinline__ int exponent(unsigned bits) { return static_cast<int>(bits >> 23) - 127; }

/// 2^e, -126 <= e <= 127.
__device__ __forceinline__ float power(int e) { return __uint_as_float(static_cast<unsigned>(e + 127) << 23); }

/// Largest over the block, in every thread. `shared` [kWarps]; ends with a barrier.
__device__ __forceinline__ unsigned block_largest(unsigned x, unsigned* shared) {
  x = __reduce_max_sync(0xffffffffu, x);
  if (threadIdx.x % kWarp == 0) shared[threadIdx.x / kWarp] = x;
  __syncthreads();
  unsigned most = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i) most = max(most, shared[i]);
  __syncthreads();
  return most;
}

/// One thread. Most blocks find something larger already there and do without the atomic.
__device__ __forceinline__ void raise(std::uint32_t* to, unsigned x) {
  if (x > *reinterpret_cast<volatile std::uint32_t*>(to)) atomicMax(to, x);
}

template <int kWidth>
struct Vector {
  float x[kWidth];
};

template <int kWidth>
__device__ __forceinline__ Vector<kWidth> load(const float* from) {
  if constexpr (kWidth == 4) {
    const float4 v = __ldg(reinterpret_cast<const float4*>(from));
    return {{v.x, v.y, v.z, v.w}};
  } else {
    return {{__ldg(from)}};
  }
}

template <int kWidth>
__device__ __forceinline__ void store(Half* to, const Vector<kWidth>& v, float factor) {
  if constexpr (kWidth == 4) {
    const __half2 low = __floats2half2_rn(v.x[0] * factor, v.x[1] * factor),
                  high = __floats2half2_rn(v.x[2] * factor, v.x[3] * factor);
    *reinterpret_cast<uint2*>(to) = {*reinterpret_cast<const unsigned*>(&low),
                                     *reinterpret_cast<const unsigned*>(&high)};
  } else {
    to->bits = __half_as_ushort(__float2half_rn(v.x[0] * factor));
  }
}

/// A block a row, which stays in registers as far as kKept vectors a thread hold it; the rest is read twice. The blocks
/// past the rows look for the largest of `values`. kWidth 4: rows of x start on 16 bytes.
template <int kWidth, int kKept>
__global__ void __launch_bounds__(kThreads)
    half_rows_kernel(const Dense<const float> x, Half* __restrict__ copy, std::int64_t copy_ld,
                     float* __restrict__ factors, const float* __restrict__ values, std::int64_t nnz,
                     HalfLargest* largest) {
  __shared__ unsigned shared[kWarps];
  if (blockIdx.x >= x.rows) {
    const std::int64_t first = (blockIdx.x - x.rows) * kThreads + threadIdx.x;
    const std::int64_t step = (gridDim.x - x.rows) * kThreads;
    unsigned most = 0;
#pragma unroll 8
    for (std::int64_t i = first; i < nnz; i += step) most = max(most, magnitude(__ldg(values + i)));
    most = block_largest(most, shared);
    if (threadIdx.x == 0) raise(&largest->value, most);
    return;
  }
  const std::int64_t row = blockIdx.x;
  const float* from = x.data + row * x.ld;
  Half* to = copy + row * copy_ld;
  const std::int64_t vectors = x.cols / kWidth;
  const std::int64_t tail = vectors * kWidth + threadIdx.x;  // at most three elements, a thread each
  Vector<kWidth> kept[kKept];
  unsigned most = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const std::int64_t at = i * kThreads + static_cast<int>(threadIdx.x);
    if (at < vectors)
      kept[i] = load<kWidth>(from + at * kWidth);
    else
      kept[i] = {};
  }
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
#pragma unroll
    for (int j = 0; j < kWidth; ++j) most = max(most, magnitude(kept[i].x[j]));
  }
#pragma unroll 4
  for (std::int64_t at = kKept * kThreads + static_cast<int>(threadIdx.x); at < vectors; at += kThreads) {
    const Vector<kWidth> v = load<kWidth>(from + at * kWidth);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) most = max(most, magnitude(v.x[j]));
  }
  const float last = tail < x.cols ? from[tail] : 0.0f;
  most = block_largest(max(most, magnitude(last)), shared);

  const int top = max(exponent(most), kLeast);
  const float factor = power(kTop - top);
  if (threadIdx.x == 0) {
    const float inverse = power(top - kTop);
    factors[row] = inverse;
    if (largest) raise(&largest->factor, __float_as_uint(inverse));
  }
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const std::int64_t at = i * kThreads + static_cast<int>(threadIdx.x);
    if (at < vectors) store<kWidth>(to + at * kWidth, kept[i], factor);
  }
#pragma unroll 4
  for (std::int64_t at = kKept * kThreads + static_cast<int>(threadIdx.x); at < vectors; at += kThreads)
    store<kWidth>(to + at * kWidth, load<kWidth>(from + at * kWidth), factor);
  if (tail < x.cols) store<1>(to + tail, {{last}}, factor);
}

/// First of entries [low, high) whose column is at least `column`.
__device__ int lower_bound(const std::int32_t* col_indices, int low, int high, std::int64_t column) {
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (col_indices[middle] < column)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// The exponent of alpha. |a * factor| < 2^(sum of exponents + 1): divided by alpha, below 2^15.
__device__ __forceinline__ int exponent_of_alpha(const HalfLargest& largest) {
  return min(max(exponent(largest.value) + exponent(largest.factor) - kTop, -126), 127);
}

/// factor / alpha, as two powers of two, so that neither leaves f32's range: their product may.
struct ColumnScale {
  float first, second;
  __device__ ColumnScale(float factor, int alpha) {
    const int e = exponent(__float_as_uint(factor)) - alpha;
    first = power(e / 2), second = power(e - e / 2);
  }
  __device__ __half operator()(float x) const { return __float2half_rn(x * first * second); }
};

/// A tile is `tile_rows` whole rows, pads included, which lie end to end, or `tile_cols` columns of one row.
struct HalfTiles {
  std::int64_t segments;  // of a row; 1 when tile_rows > 1
  int tile_rows, tile_cols, ld;
};

__global__ void __launch_bounds__(kThreads)
    half_densify_kernel(const Csr<const float> a, const float* __restrict__ factors,
                        const HalfLargest* __restrict__ largest, Half* __restrict__ out, HalfAlpha* __restrict__ alpha,
                        const HalfTiles tiles) {
  __shared__ uint4 shared[kTile / 8];
  __shared__ int range[2];
  auto* tile = reinterpret_cast<std::uint16_t*>(shared);
  const int scale = exponent_of_alpha(*largest);
  if (blockIdx.x == 0 && threadIdx.x == 0) *alpha = {power(scale), 0.0f};

  const std::int64_t row = blockIdx.x / tiles.segments * tiles.tile_rows;
  const std::int64_t column = blockIdx.x % tiles.segments * tiles.tile_cols;
  const int num_rows = static_cast<int>(min(std::int64_t{tiles.tile_rows}, a.rows - row));
  const int width = static_cast<int>(min(std::int64_t{tiles.tile_cols}, tiles.ld - column));
  const int vectors = num_rows * width / 8;  // ld and tile_cols are multiples of eight
  for (int i = threadIdx.x; i < vectors; i += kThreads) shared[i] = make_uint4(0, 0, 0, 0);
  if (tiles.segments > 1 && threadIdx.x < 2)
    range[threadIdx.x] =
        lower_bound(a.col_indices, a.row_offsets[row], a.row_offsets[row + 1], column + threadIdx.x * width);
  __syncthreads();

  const auto put = [&](int i, int row_start) {
    const int k = __ldg(a.col_indices + i);
    const ColumnScale scaled(__ldg(factors + k), scale);
    tile[row_start + (k - static_cast<int>(column))] = __half_as_ushort(scaled(__ldg(a.values + i)));
  };
  if (tiles.segments > 1) {
#pragma unroll 4
    for (int i = range[0] + static_cast<int>(threadIdx.x); i < range[1]; i += kThreads) put(i, 0);
  } else {
    // Few rows: all threads take each in turn; many: a warp takes a row.
    const int team = num_rows >= kWarps ? kWarp : kThreads;
    for (int r = threadIdx.x / team; r < num_rows; r += kThreads / team) {
      const int end = a.row_offsets[row + r + 1];
#pragma unroll 4
      for (int i = a.row_offsets[row + r] + static_cast<int>(threadIdx.x) % team; i < end; i += team) put(i, r * width);
    }
  }
  __syncthreads();
  auto* to = reinterpret_cast<uint4*>(out + row * tiles.ld + column);
  for (int i = threadIdx.x; i < vectors; i += kThreads) to[i] = shared[i];
}

void check_blocks(std::int64_t blocks, const char* what) {
  if (blocks > kMostBlocks)
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidConfiguration),
                           std::string(what) + ": more than 2^31 - 1 blocks", false};
}

void launch_rows(CudaStream stream, const Dense<const float>& x, Half* copy, float* factors, const float* values,
                 std::int64_t nnz, HalfLargest* largest) {
  const std::int64_t blocks = x.rows + (largest ? std::min<std::int64_t>(ceil_div(nnz, kThreads), kValueBlocks) : 0);
  if (blocks == 0) return;
  check_blocks(blocks, "half_rows");
  const auto grid = static_cast<unsigned>(blocks);
  const std::int64_t ld = half_ld(x.cols);
  const bool vectors = reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.ld % 4 == 0;
  if (vectors && x.cols <= 4 * 2 * kThreads)
    half_rows_kernel<4, 2><<<grid, kThreads, 0, cuda(stream)>>>(x, copy, ld, factors, values, nnz, largest);
  else if (vectors)
    half_rows_kernel<4, 8><<<grid, kThreads, 0, cuda(stream)>>>(x, copy, ld, factors, values, nnz, largest);
  else
    half_rows_kernel<1, 16><<<grid, kThreads, 0, cuda(stream)>>>(x, copy, ld, factors, values, nnz, largest);
  LACUNA_CUDA_LAUNCHED("half_rows");
}

}  // namespace

void half_rows(CudaStream stream, const Dense<const float>& x, Half* copy, float* factors) {
  launch_rows(stream, x, copy, factors, nullptr, 0, nullptr);
}

void half_rows(CudaStream stream, const Dense<const float>& x, Half* copy, float* factors, const float* values,
               std::int64_t nnz, HalfLargest* largest) {
  LACUNA_CUDA_CHECK(cudaMemsetAsync(largest, 0, sizeof(HalfLargest), cuda(stream)));
  launch_rows(stream, x, copy, factors, values, nnz, largest);
}

void half_densify(CudaStream stream, const Csr<const float>& a, const float* factors, const HalfLargest* largest,
                  Half* out, HalfAlpha* alpha) {
  if (a.rows == 0 || a.cols == 0) return;
  const std::int64_t ld = half_ld(a.cols);
  HalfTiles tiles = {};
  tiles.ld = static_cast<int>(ld);
  tiles.tile_cols = static_cast<int>(std::min<std::int64_t>(ld, kTile));
  tiles.segments = ceil_div(ld, kTile);
  tiles.tile_rows = tiles.segments > 1 ? 1 : kTile / tiles.tile_cols;
  const std::int64_t blocks = ceil_div(a.rows, tiles.tile_rows) * tiles.segments;
  check_blocks(blocks, "half_densify");
  half_densify_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, cuda(stream)>>>(a, factors, largest, out, alpha,
                                                                                    tiles);
  LACUNA_CUDA_LAUNCHED("half_densify");
}

}  // namespace lacuna::kernels
