// Adafactor on CUDA. A warp walks one row; sums are f32 within a lane and f64 from there on, in a fixed order. Every kernel
// reads the guard itself, so the host never waits.
#include <algorithm>

#include "kernels/adafactor/adafactor.h"
#include "kernels/adafactor/rules.h"
#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr int kRowsPerBlock = kThreads / kWarp;
constexpr int kFinalThreads = 1024;
constexpr std::int64_t kChunk = 4096;  // entries of one block where there are no rows to go by
constexpr int kTileCols = 32, kTileRows = 8;

struct Partial {
  double u, value;
};

std::int64_t blocks_of(std::int64_t n, std::int64_t per_block) { return (n + per_block - 1) / per_block; }
std::int64_t num_partials(const EntryPattern& p, bool factored) {
  return factored ? blocks_of(p.rows, kRowsPerBlock) : blocks_of(p.nnz, kChunk);
}

struct Problem {
  EntryPattern pattern;
  AdafactorArrays<float> a;
  AdafactorRule<float> rule;
  UpdateGuard<float> guard;
  Partial* partials;
  AdafactorStep<float>* step;
  float* factor;  // [cols]: the root of a column's share of v (adafactor_cpu.cpp says why the root)

  __device__ bool skip() const { return guard.skip && *guard.skip != 0; }
  __device__ float scale() const { return guard.scale ? *guard.scale : 1.0f; }
  __device__ std::int64_t row_begin(std::int64_t i) const {
    return pattern.row_offsets ? pattern.row_offsets[i] : i * pattern.cols;
  }
  __device__ std::int64_t column(std::int64_t k, std::int64_t begin) const {
    return pattern.col_indices ? pattern.col_indices[k] : k - begin;
  }
};

__global__ void __launch_bounds__(kThreads) row_means_kernel(const __grid_constant__ Problem p) {
  if (p.skip()) return;
  const std::int64_t row = std::int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (row >= p.pattern.rows) return;  // whole warps leave
  const std::int64_t begin = p.row_begin(row), end = p.row_begin(row + 1);
  if (begin == end) return;
  const float scale = p.scale();
  float sum = 0;
  for (std::int64_t k = begin + threadIdx.x % kWarp; k < end; k += kWarp) sum += p.rule.squared(p.a.grad[k] * scale);
  const double total = warp_sum(static_cast<double>(sum));
  if (threadIdx.x % kWarp == 0)
    p.a.row_means[row] =
        p.rule.decayed(p.a.row_means[row], static_cast<float>(total / static_cast<double>(end - begin)));
}

/// A dense matrix: neighbouring threads take neighbouring columns, kTileRows rows at a time.
__global__ void __launch_bounds__(kThreads) dense_col_means_kernel(const __grid_constant__ Problem p) {
  __shared__ double sums[kTileRows][kTileCols];
  if (p.skip()) return;  // the same for every thread
  const int x = threadIdx.x % kTileCols, y = threadIdx.x / kTileCols;
  const std::int64_t column = std::int64_t{blockIdx.x} * kTileCols + x;
  const float scale = p.scale();
  float sum = 0;
  if (column < p.pattern.cols)
    for (std::int64_t i = y; i < p.pattern.rows; i += kTileRows)
      sum += p.rule.squared(p.a.grad[i * p.pattern.cols + column] * scale);
  sums[y][x] = sum;
  __syncthreads();
  if (y != 0 || column >= p.pattern.cols) return;
  double total = 0;
  for (int i = 0; i < kTileRows; ++i) total += sums[i][x];
  p.a.col_means[column] =
      p.rule.decayed(p.a.col_means[column], static_cast<float>(total / static_cast<double>(p.pattern.rows)));
}

/// A warp per column of a pattern.
__global__ void __launch_bounds__(kThreads) sparse_col_means_kernel(const __grid_constant__ Problem p) {
  if (p.skip()) return;
  const std::int64_t column = std::int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (column >= p.pattern.cols) return;
  const std::int64_t begin = p.pattern.col_offsets[column], end = p.pattern.col_offsets[column + 1];
  if (begin == end) return;
  const float scale = p.scale();
  float sum = 0;
  for (std::int64_t k = begin + threadIdx.x % kWarp; k < end; k += kWarp)
    sum += p.rule.squared(p.a.grad[p.pattern.permutation[k]] * scale);
  const double total = warp_sum(static_cast<double>(sum));
  if (threadIdx.x % kWarp == 0)
    p.a.col_means[column] =
        p.rule.decayed(p.a.col_means[column], static_cast<float>(total / static_cast<double>(end - begin)));
}

/// One block: the mean of all row means, and with it every column's factor.
__global__ void __launch_bounds__(kFinalThreads) dense_factors_kernel(const __grid_constant__ Problem p) {
  __shared__ double warps[kFinalThreads / kWarp];
  if (p.skip()) return;
  double sum = 0;
  for (std::int64_t i = threadIdx.x; i < p.pattern.rows; i += kFinalThreads) sum += p.a.row_means[i];
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = sum;
  __syncthreads();
  double total = 0;
  for (int i = 0; i < kFinalThreads / kWarp; ++i) total += warps[i];
  const double mean = total / static_cast<double>(p.pattern.rows);
  for (std::int64_t j = threadIdx.x; j < p.pattern.cols; j += kFinalThreads)
    p.factor[j] = static_cast<float>(sqrt(p.a.col_means[j] / mean));
}

__global__ void __launch_bounds__(kThreads) sparse_factors_kernel(const __grid_constant__ Problem p) {
  if (p.skip()) return;
  const std::int64_t column = std::int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
  if (column >= p.pattern.cols) return;
  const std::int64_t begin = p.pattern.col_offsets[column], end = p.pattern.col_offsets[column + 1];
  double sum = 0;
  for (std::int64_t k = begin + threadIdx.x % kWarp; k < end; k += kWarp)
    sum += p.a.row_means[p.pattern.row_indices[k]];
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0)
    p.factor[column] =
        begin == end ? 0.0f : static_cast<float>(sqrt(p.a.col_means[column] / (sum / static_cast<double>(end - begin))));
}

/// f(k, update of entry k) for the block's entries: kRowsPerBlock rows, or a chunk. `fresh`: v is brought up to date first.
template <bool factored, bool fresh, class F>
__device__ void for_updates(const Problem& p, F f) {
  const float scale = p.scale();
  if constexpr (factored) {
    const std::int64_t row = std::int64_t{blockIdx.x} * kRowsPerBlock + threadIdx.x / kWarp;
    if (row >= p.pattern.rows) return;
    const std::int64_t begin = p.row_begin(row), end = p.row_begin(row + 1);
    const float root = sqrtf(p.a.row_means[row]);
    for (std::int64_t k = begin + threadIdx.x % kWarp; k < end; k += kWarp)
      f(k, p.a.grad[k] * scale / (root * p.factor[p.column(k, begin)]));
  } else {
    const std::int64_t begin = std::int64_t{blockIdx.x} * kChunk;
    const std::int64_t end = begin + kChunk < p.pattern.nnz ? begin + kChunk : p.pattern.nnz;
    for (std::int64_t k = begin + threadIdx.x; k < end; k += kThreads) {
      const float g = p.a.grad[k] * scale;
      float v = p.a.v[k];
      if (fresh) p.a.v[k] = v = p.rule.decayed(v, p.rule.squared(g));
      f(k, g / sqrtf(v));
    }
  }
}

template <bool factored>
__global__ void __launch_bounds__(kThreads) partials_kernel(const __grid_constant__ Problem p) {
  __shared__ Partial warps[kThreads / kWarp];
  if (p.skip()) return;
  float u_lane = 0, value_lane = 0;
  for_updates<factored, true>(p, [&](std::int64_t k, float u) {
    u_lane += u * u;
    value_lane += p.a.value[k] * p.a.value[k];
  });
  const double u = warp_sum(static_cast<double>(u_lane)), value = warp_sum(static_cast<double>(value_lane));
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = {u, value};
  __syncthreads();
  if (threadIdx.x != 0) return;
  Partial total{0, 0};
  for (const Partial& part : warps) {
    total.u += part.u;
    total.value += part.value;
  }
  p.partials[blockIdx.x] = total;
}

/// One block.
__global__ void __launch_bounds__(kFinalThreads)
    step_kernel(const __grid_constant__ Problem p, AdafactorCoefficients c, std::int64_t count) {
  __shared__ Partial warps[kFinalThreads / kWarp];
  if (p.skip()) return;
  double u = 0, value = 0;
  for (std::int64_t i = threadIdx.x; i < count; i += kFinalThreads) {
    u += p.partials[i].u;
    value += p.partials[i].value;
  }
  u = warp_sum(u);
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = {u, value};
  __syncthreads();
  if (threadIdx.x != 0) return;
  Partial total{0, 0};
  for (const Partial& part : warps) {
    total.u += part.u;
    total.value += part.value;
  }
  *p.step = adafactor_step<float>(c, total.u, total.value, p.pattern.nnz);
}

template <bool factored>
__global__ void __launch_bounds__(kThreads) apply_kernel(const __grid_constant__ Problem p) {
  if (p.skip()) return;
  const AdafactorStep<float> step = *p.step;
  for_updates<factored, false>(p, [&](std::int64_t k, float u) {
    float x = p.a.value[k], m = p.a.m ? p.a.m[k] : 0.0f;
    p.rule.apply(x, u, p.a.m ? &m : nullptr, step);
    p.a.value[k] = x;
    if (p.a.m) p.a.m[k] = m;
  });
}

template <bool factored>
void launch_updates(cudaStream_t stream, const Problem& p, const AdafactorCoefficients& c, std::int64_t parts) {
  const auto blocks = static_cast<unsigned>(parts);
  partials_kernel<factored><<<blocks, kThreads, 0, stream>>>(p);
  LACUNA_CUDA_LAUNCHED("adafactor_partials");
  step_kernel<<<1, kFinalThreads, 0, stream>>>(p, c, parts);
  LACUNA_CUDA_LAUNCHED("adafactor_step");
  apply_kernel<factored><<<blocks, kThreads, 0, stream>>>(p);
  LACUNA_CUDA_LAUNCHED("adafactor_apply");
}

void launch_statistics(cudaStream_t stream, const Problem& p) {
  const bool dense = p.pattern.row_offsets == nullptr;
  const auto row_blocks = static_cast<unsigned>(blocks_of(p.pattern.rows, kRowsPerBlock));
  const auto col_blocks = static_cast<unsigned>(blocks_of(p.pattern.cols, dense ? kTileCols : kRowsPerBlock));
  row_means_kernel<<<row_blocks, kThreads, 0, stream>>>(p);
  LACUNA_CUDA_LAUNCHED("adafactor_row_means");
  if (dense) {
    dense_col_means_kernel<<<col_blocks, kThreads, 0, stream>>>(p);
    LACUNA_CUDA_LAUNCHED("adafactor_col_means");
    dense_factors_kernel<<<1, kFinalThreads, 0, stream>>>(p);
  } else {
    sparse_col_means_kernel<<<col_blocks, kThreads, 0, stream>>>(p);
    LACUNA_CUDA_LAUNCHED("adafactor_col_means");
    sparse_factors_kernel<<<col_blocks, kThreads, 0, stream>>>(p);
  }
  LACUNA_CUDA_LAUNCHED("adafactor_factors");
}

}  // namespace

std::size_t adafactor_scratch_bytes(CudaStream, const EntryPattern& p, bool factored) {
  return static_cast<std::size_t>(num_partials(p, factored)) * sizeof(Partial) + sizeof(AdafactorStep<float>) +
         static_cast<std::size_t>(factored ? p.cols : 0) * sizeof(float);
}

template <>
void adafactor_update<float>(CudaStream stream, const EntryPattern& pattern, const AdafactorArrays<float>& a,
                             const AdafactorCoefficients& c, const UpdateGuard<float>& guard, void* scratch) {
  if (pattern.nnz == 0) return;
  const bool factored = a.v == nullptr;
  const std::int64_t parts = num_partials(pattern, factored);
  auto* partials = static_cast<Partial*>(scratch);
  auto* step = reinterpret_cast<AdafactorStep<float>*>(partials + parts);
  const Problem p{pattern, a, AdafactorRule<float>(c), guard, partials, step, reinterpret_cast<float*>(step + 1)};
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  if (factored) {
    launch_statistics(handle, p);
    launch_updates<true>(handle, p, c, parts);
  } else {
    launch_updates<false>(handle, p, c, parts);
  }
}

}  // namespace lacuna::kernels
