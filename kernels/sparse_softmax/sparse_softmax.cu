// Sparse softmax on CUDA: a warp takes a row; a row too long for a warp is taken by its whole block. Which of the two
// depends on the row's length alone, so every sum has a fixed order.
#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sparse_softmax/sparse_softmax.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
constexpr int kLongRow = 2048;  // entries from which a row gets a block
constexpr std::int64_t kMaxBatchBlocks = 65535;

struct WarpTeam {
  static constexpr int kSize = kWarp;
  int rank;
  __device__ float sum(float x) const { return warp_sum(x); }
  __device__ float max(float x) const { return warp_max(x); }
};

struct BlockTeam {
  static constexpr int kSize = kThreads;
  int rank;
  float* shared;
  __device__ float sum(float x) const {
    float values[1] = {x};
    block_sum(values, shared);
    return values[0];
  }
  __device__ float max(float x) const { return block_max(x, shared); }
};

struct Forward {
  const float* s;
  float* p;
  float scale;

  __host__ __device__ void advance(std::int64_t elements) { s += elements, p += elements; }

  /// Row [begin, begin + length). p may be s: a thread reads what it will overwrite, and no other thread does.
  template <class Team>
  __device__ void row(const Team& team, std::int64_t begin, int length) const {
    const float* in = s + begin;
    float* out = p + begin;
    float largest =
        __int_as_float(0xff800000);  // -infinity; a NaN is passed over here and reaches the row through the sum
#pragma unroll 4
    for (int i = team.rank; i < length; i += Team::kSize) largest = fmaxf(largest, scale * in[i]);
    largest = team.max(largest);
    float sum = 0.0f;
#pragma unroll 4
    for (int i = team.rank; i < length; i += Team::kSize) sum += expf(scale * in[i] - largest);
    const float inverse = 1.0f / team.sum(sum);
#pragma unroll 4
    for (int i = team.rank; i < length; i += Team::kSize) out[i] = expf(scale * in[i] - largest) * inverse;
  }
};

struct Backward {
  const float* p;
  const float* dp;
  float* ds;
  float scale;

  __host__ __device__ void advance(std::int64_t elements) { p += elements, dp += elements, ds += elements; }

  template <class Team>
  __device__ void row(const Team& team, std::int64_t begin, int length) const {
    float dot = 0.0f;
#pragma unroll 4
    for (int i = team.rank; i < length; i += Team::kSize) dot = fmaf(p[begin + i], dp[begin + i], dot);
    dot = team.sum(dot);
#pragma unroll 4
    for (int i = team.rank; i < length; i += Team::kSize) ds[begin + i] = scale * p[begin + i] * (dp[begin + i] - dot);
  }
};

/// `rows_per_block` is 1..kWarps: fewer when rows are long, so that a block has few of them to take one after another.
template <class Work>
__global__ void __launch_bounds__(kThreads)
    softmax_rows(const std::int32_t* __restrict__ row_offsets, std::int64_t rows, std::int64_t stride,
                 int rows_per_block, Work work) {
  __shared__ float shared[kWarp];
  const int warp = threadIdx.x / kWarp;
  const std::int64_t first = std::int64_t{blockIdx.x} * rows_per_block;
  work.advance(blockIdx.z * stride);

  int length = 0;
  if (warp < rows_per_block && first + warp < rows) {
    const int begin = row_offsets[first + warp];
    length = row_offsets[first + warp + 1] - begin;
    if (length < kLongRow) work.row(WarpTeam{static_cast<int>(threadIdx.x % kWarp)}, begin, length);
  }
  if (!__syncthreads_or(length >= kLongRow)) return;
  for (int i = 0; i < rows_per_block && first + i < rows; ++i) {
    const int begin = row_offsets[first + i];
    const int long_length = row_offsets[first + i + 1] - begin;
    if (long_length >= kLongRow) work.row(BlockTeam{static_cast<int>(threadIdx.x), shared}, begin, long_length);
  }
}

template <class Pattern, class Work>
void launch(CudaStream stream, const Pattern& pattern, const Work& work) {
  if (pattern.nnz == 0 || pattern.rows == 0) return;
  const std::int64_t average = pattern.nnz / pattern.rows;
  const int rows_per_block = average >= kLongRow / 2 ? 1 : kWarps;
  const auto blocks = static_cast<unsigned>((pattern.rows + rows_per_block - 1) / rows_per_block);
  for (std::int64_t first = 0; first < pattern.batch; first += kMaxBatchBlocks) {
    Work part = work;
    part.advance(first * pattern.values_stride);
    const dim3 grid(blocks, 1, static_cast<unsigned>(std::min(pattern.batch - first, kMaxBatchBlocks)));
    softmax_rows<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
        pattern.row_offsets, pattern.rows, pattern.values_stride, rows_per_block, part);
    LACUNA_CUDA_LAUNCHED("sparse_softmax");
  }
}

}  // namespace

template <class T>
void sparse_softmax(CudaStream stream, const Csr<const T>& s, T scale, T* p) {
  launch(stream, s, Forward{s.values, p, scale});
}

template <class T>
void sparse_softmax_backward(CudaStream stream, const Csr<const T>& p, const T* dp, T scale, T* ds) {
  launch(stream, p, Backward{p.values, dp, ds, scale});
}

#define LACUNA_INSTANTIATE(T)                                                \
  template void sparse_softmax<T>(CudaStream, const Csr<const T>&, T, T*);  \
  template void sparse_softmax_backward<T>(CudaStream, const Csr<const T>&, const T*, T, T*);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
