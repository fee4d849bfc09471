// Threads add f32 in a fixed stride order; blocks, and whatever follows, add in f64.
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/reduce/block_reduce.cuh"
#include "kernels/reduce/reduce.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kFinalThreads = 1024;
constexpr std::int64_t kChunk = 16384;     // elements behind one partial sum: 64 a thread
constexpr int kSpansPerLaunch = 96;        // so that the arguments stay below the 4 KiB a launch may carry

cudaStream_t handle_of(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.handle); }
std::int64_t chunks_of(std::int64_t n) { return (n + kChunk - 1) / kChunk; }

/// Spans of one launch; span s owns blocks first_block[s] .. first_block[s + 1] - 1, one chunk each.
template <class T>
struct SpanTable {
  const T* data[kSpansPerLaunch];
  std::int64_t size[kSpansPerLaunch];
  std::int64_t first_block[kSpansPerLaunch + 1];
  int count = 0;
};

template <bool squared, class T>
__device__ float thread_sum(const T* x, std::int64_t n) {
  float lanes[4] = {};  // four chains hide the latency of the adds, and shorten each
  std::int64_t i = threadIdx.x;
  for (; i + 3 * kThreads < n; i += 4 * kThreads) {
#pragma unroll
    for (int lane = 0; lane < 4; ++lane) {
      const float v = x[i + lane * kThreads];
      lanes[lane] += squared ? v * v : v;
    }
  }
  for (; i < n; i += kThreads) {
    const float v = x[i];
    lanes[0] += squared ? v * v : v;
  }
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

template <bool squared, class T>
__global__ void __launch_bounds__(kThreads)
    chunk_sums_kernel(const __grid_constant__ SpanTable<T> table, double* partials) {
  const std::int64_t block = blockIdx.x;
  int span = 0;
  for (int low = 0, high = table.count; low < high;) {  // the last span whose first block is not past this one
    const int middle = (low + high) / 2;
    if (table.first_block[middle] <= block) {
      span = middle;
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const std::int64_t begin = (block - table.first_block[span]) * kChunk;
  const std::int64_t size = table.size[span] - begin < kChunk ? table.size[span] - begin : kChunk;
  const double total = block_sum<kThreads>(static_cast<double>(thread_sum<squared>(table.data[span] + begin, size)));
  if (threadIdx.x == 0) partials[block] = total;
}

__global__ void __launch_bounds__(kFinalThreads)
    final_sum_kernel(const double* partials, std::int64_t count, double factor, float* out) {
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kFinalThreads) sum += partials[i];
  sum = block_sum<kFinalThreads>(sum);
  if (threadIdx.x == 0) out[0] = static_cast<float>(factor * sum);
}

/// Partial sums of every chunk of every span; returns how many there are.
template <bool squared, class T>
std::int64_t launch_chunk_sums(const CudaStream& stream, const Span<T>* spans, std::int64_t count, double* partials) {
  std::int64_t total = 0;
  for (std::int64_t s = 0; s < count;) {
    SpanTable<T> table;
    std::int64_t blocks = 0;
    for (; s < count && table.count < kSpansPerLaunch; ++s) {
      if (spans[s].size == 0) continue;
      table.data[table.count] = spans[s].data;
      table.size[table.count] = spans[s].size;
      table.first_block[table.count++] = blocks;
      blocks += chunks_of(spans[s].size);
    }
    table.first_block[table.count] = blocks;
    if (blocks == 0) continue;
    chunk_sums_kernel<squared><<<static_cast<unsigned>(blocks), kThreads, 0, handle_of(stream)>>>(table, partials + total);
    LACUNA_CUDA_LAUNCHED("chunk_sums");
    total += blocks;
  }
  return total;
}

void launch_final_sum(const CudaStream& stream, const double* partials, std::int64_t count, double factor, float* out) {
  final_sum_kernel<<<1, kFinalThreads, 0, handle_of(stream)>>>(partials, count, factor, out);
  LACUNA_CUDA_LAUNCHED("final_sum");
}

/// One block per (row, stretch of its columns): row = blockIdx.x / splits. With one stretch the row's sum is final.
template <class T>
__global__ void __launch_bounds__(kThreads)
    row_sums_kernel(const T* x, std::int64_t ld, std::int64_t n, std::int64_t splits, std::int64_t stretch, float* out,
                    double* partials) {
  const std::int64_t row = blockIdx.x / splits, begin = (blockIdx.x % splits) * stretch;
  const std::int64_t size = max(0ll, min(static_cast<long long>(stretch), static_cast<long long>(n - begin)));
  const double total = block_sum<kThreads>(static_cast<double>(thread_sum<false>(x + row * ld + begin, size)));
  if (threadIdx.x != 0) return;
  if (splits == 1) {
    out[row] = static_cast<float>(total);
  } else {
    partials[blockIdx.x] = total;
  }
}

/// Short rows: one warp each.
template <class T>
__global__ void __launch_bounds__(kThreads)
    short_row_sums_kernel(const T* x, std::int64_t ld, std::int64_t m, std::int64_t n, float* out) {
  const std::int64_t row = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) / 32;
  if (row >= m) return;  // whole warps leave
  float sum = 0;
  for (std::int64_t j = threadIdx.x % 32; j < n; j += 32) sum += x[row * ld + j];
  const double total = warp_sum(static_cast<double>(sum));
  if (threadIdx.x % 32 == 0) out[row] = static_cast<float>(total);
}

__global__ void __launch_bounds__(kThreads)
    combine_rows_kernel(const double* partials, std::int64_t m, std::int64_t splits, float* out) {
  const std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row >= m) return;
  double sum = 0;
  for (std::int64_t s = 0; s < splits; ++s) sum += partials[row * splits + s];
  out[row] = static_cast<float>(sum);
}

/// Stretches a row is cut into: enough blocks to fill the device when rows are few. Depends on sizes alone.
std::int64_t splits_of(std::int64_t m, std::int64_t n) {
  constexpr std::int64_t kWantedBlocks = 1024, kLeastStretch = 4096;
  if (m == 0) return 1;
  return std::clamp<std::int64_t>(kWantedBlocks / m, 1, std::max<std::int64_t>(1, n / kLeastStretch));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    broadcast_rows_kernel(const float* row_values, float factor, T* y, std::int64_t m, std::int64_t n) {
  const std::int64_t total = m * n, stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total; i += stride) {
    y[i] = static_cast<T>(factor * row_values[m == 1 ? 0 : i / n]);
  }
}

}  // namespace

std::size_t sum_scratch_bytes(CudaStream, std::int64_t n) {
  return static_cast<std::size_t>(chunks_of(n)) * sizeof(double);
}

template <class T>
void sum(CudaStream stream, const T* x, std::int64_t n, double factor, acc_t<T>* out, void* scratch) {
  auto* partials = static_cast<double*>(scratch);
  const Span<T> span{x, n};
  const std::int64_t count = launch_chunk_sums<false>(stream, &span, 1, partials);
  launch_final_sum(stream, partials, count, factor, out);
}

std::size_t sum_columns_scratch_bytes(CudaStream, std::int64_t m, std::int64_t n) {
  const std::int64_t splits = splits_of(m, n);
  return splits == 1 ? 0 : static_cast<std::size_t>(m * splits) * sizeof(double);
}

template <class T>
void sum_columns(CudaStream stream, const Dense<const T>& x, acc_t<T>* out, void* scratch) {
  const std::int64_t m = x.rows, n = x.cols;
  if (m == 0) return;
  if (n <= 1024) {
    const auto blocks = static_cast<unsigned>((m * 32 + kThreads - 1) / kThreads);
    short_row_sums_kernel<<<blocks, kThreads, 0, handle_of(stream)>>>(x.data, x.ld, m, n, out);
    LACUNA_CUDA_LAUNCHED("short_row_sums");
    return;
  }
  const std::int64_t splits = splits_of(m, n), stretch = (n + splits - 1) / splits;
  auto* partials = static_cast<double*>(scratch);
  row_sums_kernel<<<static_cast<unsigned>(m * splits), kThreads, 0, handle_of(stream)>>>(
      x.data, x.ld, n, splits, stretch, out, partials);
  LACUNA_CUDA_LAUNCHED("row_sums");
  if (splits == 1) return;
  const auto blocks = static_cast<unsigned>((m + kThreads - 1) / kThreads);
  combine_rows_kernel<<<blocks, kThreads, 0, handle_of(stream)>>>(partials, m, splits, out);
  LACUNA_CUDA_LAUNCHED("combine_rows");
}

template <class T>
std::size_t sum_of_squares_scratch_bytes(CudaStream, const Span<T>* spans, std::int64_t count) {
  std::int64_t chunks = 0;
  for (std::int64_t s = 0; s < count; ++s) chunks += chunks_of(spans[s].size);
  return static_cast<std::size_t>(chunks) * sizeof(double);
}

template <class T>
void sum_of_squares(CudaStream stream, const Span<T>* spans, std::int64_t count, acc_t<T>* out, void* scratch) {
  auto* partials = static_cast<double*>(scratch);
  launch_final_sum(stream, partials, launch_chunk_sums<true>(stream, spans, count, partials), 1, out);
}

template <class T>
void broadcast_rows(CudaStream stream, const acc_t<T>* row_values, double factor, T* y, std::int64_t m,
                    std::int64_t n) {
  if (m == 0 || n == 0) return;
  const std::int64_t most = 32ll * std::max(stream.multiprocessors, 1);
  const auto blocks = static_cast<unsigned>(std::min((m * n + kThreads - 1) / kThreads, most));
  broadcast_rows_kernel<<<blocks, kThreads, 0, handle_of(stream)>>>(row_values, static_cast<float>(factor), y, m, n);
  LACUNA_CUDA_LAUNCHED("broadcast_rows");
}

#define LACUNA_INSTANTIATE(T)                                                                     \
  template void sum<T>(CudaStream, const T*, std::int64_t, double, float*, void*);                \
  template void sum_columns<T>(CudaStream, const Dense<const T>&, float*, void*);                 \
  template std::size_t sum_of_squares_scratch_bytes<T>(CudaStream, const Span<T>*, std::int64_t); \
  template void sum_of_squares<T>(CudaStream, const Span<T>*, std::int64_t, float*, void*);       \
  template void broadcast_rows<T>(CudaStream, const float*, double, T*, std::int64_t, std::int64_t);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
