// Layer norm on CUDA. A block takes 32 adjacent columns (one 128-byte line per row) and kFeatureThreads rows at a time;
// up to kMaxHeld rows per thread stay in registers, so x is read once. More features than that are read again. bf16 goes
// through the clusters of residual_norm where they take it.
#include <algorithm>
#include <type_traits>

#include "kernels/common/chunks.h"
#include "kernels/common/reduce.cuh"
#include "kernels/layer_norm/layer_norm.h"
#include "kernels/residual_norm/residual_norm_cluster.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kFeatureThreads = 16;
constexpr int kRowsPerBlock = 8;  // of the parameter gradients: shares the statistics' loads
constexpr int kParamThreads = 256;

// Sum over the block's feature threads for each of its 32 columns, in a fixed order; every thread gets its column's.
__device__ float column_sum(float value, float (*shared)[kWarp]) {
  shared[threadIdx.y][threadIdx.x] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kFeatureThreads; ++i) sum += shared[i][threadIdx.x];
  __syncthreads();
  return sum;
}

// Calls f(row, slot) for this thread's rows. kHeld = 0: any number of rows, slot is meaningless.
template <int kHeld, class F>
__device__ __forceinline__ void for_rows(std::int64_t rows, F&& f) {
  if constexpr (kHeld > 0) {
#pragma unroll
    for (int slot = 0; slot < kHeld; ++slot) {
      const int row = slot * kFeatureThreads + static_cast<int>(threadIdx.y);
      if (row < rows) f(std::int64_t{row}, slot);
    }
  } else {
#pragma unroll 4
    for (std::int64_t row = threadIdx.y; row < rows; row += kFeatureThreads) f(row, 0);
  }
}

template <int kHeld, class T>
__global__ void __launch_bounds__(kWarp* kFeatureThreads)
    layer_norm_kernel(Dense<const T> x, const float* __restrict__ gain, const float* __restrict__ bias, float eps,
                      Dense<T> y, ColumnStatistics<float> statistics) {
  __shared__ float shared[kFeatureThreads][kWarp];
  const std::int64_t column = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const bool inside = column < x.cols;
  const T* __restrict__ in = x.data + (inside ? column : 0);  // threads past the edge shadow column 0, write nothing
  float held[kHeld > 0 ? kHeld : 1] = {};
  const auto value = [&](std::int64_t row, int slot) {
    return kHeld > 0 ? held[slot] : static_cast<float>(in[row * x.ld]);
  };

  if constexpr (kHeld > 0) for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) { held[slot] = in[row * x.ld]; });
  const float scale = 1.0f / static_cast<float>(x.rows);
  float sum = 0;
  for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) { sum += value(row, slot); });
  const float mean = column_sum(sum, shared) * scale;
  float square = 0;
  for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) {
    const float centred = value(row, slot) - mean;
    square += centred * centred;
  });
  const float rstd = 1.0f / sqrtf(column_sum(square, shared) * scale + eps);
  if (!inside) return;
  for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) {
    y.data[row * y.ld + column] = static_cast<T>((value(row, slot) - mean) * rstd * gain[row] + bias[row]);
  });
  if (threadIdx.y == 0) {
    statistics.mean[column] = mean;
    statistics.rstd[column] = rstd;
  }
}

template <int kHeld, class T>
__global__ void __launch_bounds__(kWarp* kFeatureThreads)
    layer_norm_dx_kernel(Dense<const T> x, Dense<const T> dy, const float* __restrict__ gain,
                         ColumnStatistics<const float> statistics, Dense<T> dx) {
  __shared__ float shared[kFeatureThreads][kWarp];
  const std::int64_t column = std::int64_t{blockIdx.x} * kWarp + threadIdx.x;
  const bool inside = column < x.cols;
  const std::int64_t source = inside ? column : 0;
  const T* __restrict__ in = x.data + source;
  const T* __restrict__ din = dy.data + source;
  const float mean = statistics.mean[source];
  const float rstd = statistics.rstd[source];
  float held_xhat[kHeld > 0 ? kHeld : 1] = {};
  float held_g[kHeld > 0 ? kHeld : 1] = {};
  const auto xhat = [&](std::int64_t row, int slot) {
    return kHeld > 0 ? held_xhat[slot] : (in[row * x.ld] - mean) * rstd;
  };
  const auto g = [&](std::int64_t row, int slot) { return kHeld > 0 ? held_g[slot] : gain[row] * din[row * dy.ld]; };

  if constexpr (kHeld > 0) {
    for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) {
      held_xhat[slot] = (in[row * x.ld] - mean) * rstd;
      held_g[slot] = gain[row] * din[row * dy.ld];
    });
  }
  float sum_g = 0;
  float sum_gx = 0;
  for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) {
    const float term = g(row, slot);
    sum_g += term;
    sum_gx += term * xhat(row, slot);
  });
  const float scale = 1.0f / static_cast<float>(x.rows);
  const float mean_g = column_sum(sum_g, shared) * scale;
  const float mean_gx = column_sum(sum_gx, shared) * scale;
  if (!inside) return;
  for_rows<kHeld>(x.rows, [&](std::int64_t row, int slot) {
    dx.data[row * dx.ld + column] = static_cast<T>(rstd * (g(row, slot) - mean_g - xhat(row, slot) * mean_gx));
  });
}

// Stage one of the parameter gradients: kRowsPerBlock rows, one chunk of columns. partials is [2, f, chunks].
template <class T>
__global__ void __launch_bounds__(kParamThreads)
    layer_norm_dparams_kernel(Dense<const T> x, Dense<const T> dy, ColumnStatistics<const float> statistics,
                              Chunks chunks, float* __restrict__ partials) {
  __shared__ float shared[2 * kRowsPerBlock * kWarp];
  const std::int64_t piece = blockIdx.x % chunks.count;
  const std::int64_t first_row = blockIdx.x / chunks.count * kRowsPerBlock;
  const std::int64_t end = min((piece + 1) * chunks.size, x.cols);
  const int rows = static_cast<int>(min(std::int64_t{kRowsPerBlock}, x.rows - first_row));
  float sums[2 * kRowsPerBlock] = {};
  for (std::int64_t column = piece * chunks.size + threadIdx.x; column < end; column += kParamThreads) {
    const float mean = statistics.mean[column];
    const float rstd = statistics.rstd[column];
#pragma unroll
    for (int r = 0; r < kRowsPerBlock; ++r) {
      if (r >= rows) continue;
      const float gradient = dy.data[(first_row + r) * dy.ld + column];
      sums[2 * r] += gradient * ((x.data[(first_row + r) * x.ld + column] - mean) * rstd);
      sums[2 * r + 1] += gradient;
    }
  }
  block_sum(sums, shared);
#pragma unroll
  for (int r = 0; r < kRowsPerBlock; ++r) {
    if (threadIdx.x != 0 || r >= rows) continue;
    partials[(first_row + r) * chunks.count + piece] = sums[2 * r];
    partials[(x.rows + first_row + r) * chunks.count + piece] = sums[2 * r + 1];
  }
}

std::int64_t row_blocks(std::int64_t rows) { return (rows + kRowsPerBlock - 1) / kRowsPerBlock; }

Chunks param_chunks(CudaStream stream, std::int64_t rows, std::int64_t cols) {
  return plan_chunks(row_blocks(rows), cols, stream.multiprocessors, kParamThreads);
}

// Calls launch(std::integral_constant<int, held>) with the fewest held rows that cover the features, 0 past `most`.
template <class F>
void with_held_rows(std::int64_t rows, int most, F&& launch) {
  const std::int64_t held = (rows + kFeatureThreads - 1) / kFeatureThreads;
  if (held > most) return launch(std::integral_constant<int, 0>{});
  if (held <= 8) return launch(std::integral_constant<int, 8>{});
  if (held <= 16) return launch(std::integral_constant<int, 16>{});
  if (held <= 32) return launch(std::integral_constant<int, 32>{});
  return launch(std::integral_constant<int, 64>{});
}

template <class T>
bool contiguous(const Dense<T>& x) {
  return x.ld == x.cols && x.batch == 1;
}

}  // namespace

template <class T>
void layer_norm(CudaStream stream, const Dense<const T>& x, const acc_t<T>* gain, const acc_t<T>* bias, double eps,
                const Dense<T>& y, ColumnStatistics<acc_t<T>> statistics) {
  if (x.rows == 0 || x.cols == 0) return;
  if constexpr (std::is_same_v<T, Bf16>) {
    if (contiguous(x) && contiguous(y) &&
        residual_norm_by_clusters(stream, {.f = x.rows,
                                           .n = x.cols,
                                           .x = x.data,
                                           .gain = gain,
                                           .bias = bias,
                                           .eps = eps,
                                           .y = y.data,
                                           .mean = statistics.mean,
                                           .rstd = statistics.rstd}))
      return;
  }
  const auto blocks = static_cast<unsigned>((x.cols + kWarp - 1) / kWarp);
  with_held_rows(x.rows, 64, [&](auto held) {
    layer_norm_kernel<decltype(held)::value><<<blocks, dim3(kWarp, kFeatureThreads), 0, (cudaStream_t)stream.handle>>>(
        x, gain, bias, static_cast<float>(eps), y, statistics);
  });
  LACUNA_CUDA_LAUNCHED("layer_norm");
}

template <class T>
void layer_norm_dx(CudaStream stream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                   ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx) {
  if (x.rows == 0 || x.cols == 0) return;
  const auto blocks = static_cast<unsigned>((x.cols + kWarp - 1) / kWarp);
  with_held_rows(x.rows, 32, [&](auto held) {  // two values per row are held: half as many rows fit
    constexpr int kHeld = decltype(held)::value > 32 ? 32 : decltype(held)::value;
    layer_norm_dx_kernel<kHeld>
        <<<blocks, dim3(kWarp, kFeatureThreads), 0, (cudaStream_t)stream.handle>>>(x, dy, gain, statistics, dx);
  });
  LACUNA_CUDA_LAUNCHED("layer_norm_dx");
}

template <class T>
std::size_t layer_norm_dparams_scratch_bytes(CudaStream stream, const Dense<const T>& x) {
  const auto bytes = static_cast<std::size_t>(2 * x.rows * param_chunks(stream, x.rows, x.cols).count) * sizeof(float);
  if (!std::is_same_v<T, Bf16>) return bytes;
  return std::max(bytes, residual_norm_cluster_scratch_bytes(stream, x.rows, x.cols));
}

template <class T>
void layer_norm_dparams(CudaStream stream, const Dense<const T>& x, const Dense<const T>& dy,
                        ColumnStatistics<const acc_t<T>> statistics, acc_t<T>* dgain, acc_t<T>* dbias, void* scratch) {
  if (x.rows == 0) return;
  const Chunks chunks = param_chunks(stream, x.rows, x.cols);
  auto* partials = static_cast<float*>(scratch);
  const auto handle = (cudaStream_t)stream.handle;
  layer_norm_dparams_kernel<<<static_cast<unsigned>(row_blocks(x.rows) * chunks.count), kParamThreads, 0, handle>>>(
      x, dy, statistics, chunks, partials);
  LACUNA_CUDA_LAUNCHED("layer_norm_dparams");
  sum_partials<<<sum_partials_blocks(x.rows), kSumThreads, 0, handle>>>(partials, x.rows, chunks.count, dgain);
  sum_partials<<<sum_partials_blocks(x.rows), kSumThreads, 0, handle>>>(partials + x.rows * chunks.count, x.rows,
                                                                        chunks.count, dbias);
  LACUNA_CUDA_LAUNCHED("sum_partials");
}

template <class T>
void layer_norm_gradient(CudaStream stream, const Dense<const T>& x, const Dense<const T>& dy, const acc_t<T>* gain,
                         ColumnStatistics<const acc_t<T>> statistics, const Dense<T>& dx, acc_t<T>* dgain,
                         acc_t<T>* dbias, void* scratch) {
  if constexpr (std::is_same_v<T, Bf16>) {
    if (contiguous(x) && contiguous(dy) && contiguous(dx) &&
        residual_norm_gradient_by_clusters(stream,
                                           {.f = x.rows,
                                            .n = x.cols,
                                            .r = x.data,
                                            .dy = dy.data,
                                            .gain = gain,
                                            .mean = statistics.mean,
                                            .rstd = statistics.rstd,
                                            .dx = dx.data,
                                            .dgain = dgain,
                                            .dbias = dbias},
                                           scratch))
      return;
  }
  layer_norm_dx<T>(stream, x, dy, gain, statistics, dx);
  layer_norm_dparams<T>(stream, x, dy, statistics, dgain, dbias, scratch);
}

#define LACUNA_INSTANTIATE(T)                                                                                         \
  template void layer_norm<T>(CudaStream, const Dense<const T>&, const float*, const float*, double, const Dense<T>&, \
                              ColumnStatistics<float>);                                                               \
  template void layer_norm_dx<T>(CudaStream, const Dense<const T>&, const Dense<const T>&, const float*,              \
                                 ColumnStatistics<const float>, const Dense<T>&);                                     \
  template std::size_t layer_norm_dparams_scratch_bytes<T>(CudaStream, const Dense<const T>&);                        \
  template void layer_norm_dparams<T>(CudaStream, const Dense<const T>&, const Dense<const T>&,                       \
                                      ColumnStatistics<const float>, float*, float*, void*);                          \
  template void layer_norm_gradient<T>(CudaStream, const Dense<const T>&, const Dense<const T>&, const float*,        \
                                       ColumnStatistics<const float>, const Dense<T>&, float*, float*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
