// Three launches: how many targets count (n integers); loss and gradient of each column; the losses' mean. In the
// second a block owns kColumns adjacent columns, so that a warp moves 32 neighbours of one row; its kSlices warps each
// hold every kSlices-th class in registers.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "kernels/cross_entropy/loss_gradient.h"
#include "kernels/reduce/block_reduce.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kColumns = 32;  // a warp's width
constexpr int kSlices = 16;
constexpr int kCountBlocks = 32;  // one lane of a warp each, where their counts are added up
constexpr int kCountThreads = 256;
constexpr int kMeanThreads = 1024;
constexpr int kScaleThreads = 256;

cudaStream_t handle_of(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.handle); }

/// counts[block] = targets >= 0 among the block's. Launch kCountBlocks blocks.
__global__ void __launch_bounds__(kCountThreads)
    count_kernel(const std::int32_t* targets, std::int64_t n, std::int32_t* counts) {
  std::int32_t count = 0;
#pragma unroll 4
  for (std::int64_t j = static_cast<std::int64_t>(blockIdx.x) * kCountThreads + threadIdx.x; j < n;
       j += std::int64_t{kCountBlocks} * kCountThreads)
    count += targets[j] >= 0 ? 1 : 0;
  count = block_sum<kCountThreads>(count);
  if (threadIdx.x == 0) counts[blockIdx.x] = count;
}

/// kKept * kSlices >= classes. losses[column], 0 where ignored, and the column of dlogits. No early return: every
/// thread meets both barriers.
template <class T, int kKept>
__global__ void __launch_bounds__(kColumns* kSlices)
    loss_gradient_kernel(Dense<const T> logits, const std::int32_t* targets, float label_smoothing,
                         const std::int32_t* counts, float* losses, Dense<T> dlogits) {
  __shared__ float maxima[kSlices][kColumns];
  __shared__ float sums[kSlices][kColumns];
  __shared__ float totals[kSlices][kColumns];
  __shared__ float inverse_count;
  const int lane = threadIdx.x, slice = threadIdx.y;
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + lane;
  const bool inside = column < logits.cols;
  const int classes = static_cast<int>(logits.rows);
  const int target = inside ? targets[column] : -1;

  float values[kKept];
  float largest = -INFINITY, total = 0, at_target = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = i * kSlices + slice;
    values[i] = inside && c < classes ? static_cast<float>(logits.data[c * logits.ld + column]) : -INFINITY;
  }
  // Before the first barrier, hence before anyone overwrites it when dlogits is logits.
  if (slice == 0 && target >= 0 && target < classes)
    at_target = static_cast<float>(logits.data[target * logits.ld + column]);
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    largest = fmaxf(largest, values[i]);  // passes over NaN; the exponential below does not
    if (i * kSlices + slice < classes) total += values[i];
  }
  maxima[slice][lane] = largest;
  totals[slice][lane] = total;
  if (slice == 0) {
    const std::int32_t count = warp_sum(counts[lane]);
    if (lane == 0)
      inverse_count = 1.0f / static_cast<float>(count);  // infinite when all are ignored: used by none then
  }
  __syncthreads();

#pragma unroll
  for (int s = 0; s < kSlices; ++s) largest = fmaxf(largest, maxima[s][lane]);
  const float shift = isinf(largest) ? 0.0f : largest;  // an infinite one would turn into inf - inf
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kKept; ++i) sum += expf(values[i] - shift);  // absent classes: exp(-inf) = 0
  sums[slice][lane] = sum;
  __syncthreads();

  sum = 0;
#pragma unroll
  for (int s = 0; s < kSlices; ++s) sum += sums[s][lane];
  const float lse = shift + logf(sum);
  if (!inside) return;  // no barrier from here on

  if (slice == 0) {
    float loss = 0;
    if (target >= classes) {
      loss = NAN;  // the host cannot look at targets without waiting; a loss that is not a number cannot be overlooked
    } else if (target >= 0) {
      loss = (1 - label_smoothing) * (lse - at_target);  // differences to lse first: the terms are close
      if (label_smoothing > 0) {
        total = 0;
#pragma unroll
        for (int s = 0; s < kSlices; ++s) total += totals[s][lane];
        loss += label_smoothing * (lse - total / static_cast<float>(classes));
      }
    }
    losses[column] = loss;
  }
  const float uniform = label_smoothing / static_cast<float>(classes);
  const float factor = inverse_count;
#pragma unroll
  for (int i = 0; i < kKept; ++i) {
    const int c = i * kSlices + slice;
    if (c >= classes) break;
    const float difference = expf(values[i] - lse) - (c == target ? 1 - label_smoothing : 0.0f) - uniform;
    dlogits.data[c * dlogits.ld + column] = static_cast<T>(target < 0 ? 0.0f : factor * difference);
  }
}

/// One block: loss[0] = sum of losses / sum of counts, in double and in a fixed order.
__global__ void __launch_bounds__(kMeanThreads)
    mean_kernel(const float* losses, std::int64_t n, const std::int32_t* counts, float* loss) {
  double sum = 0;
#pragma unroll 4
  for (std::int64_t j = threadIdx.x; j < n; j += kMeanThreads) sum += losses[j];
  sum = block_sum<kMeanThreads>(sum);
  if (threadIdx.x >= 32) return;
  const std::int32_t count = warp_sum(counts[threadIdx.x]);
  if (threadIdx.x == 0) loss[0] = static_cast<float>(sum / count);  // 0 / 0 = NaN, as in torch
}

template <class T>
__global__ void __launch_bounds__(kScaleThreads) scale_by_kernel(const float* factor, T* x, std::int64_t n) {
  const float f = *factor;
  if (f == 1.0f) return;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kScaleThreads + threadIdx.x; i < n;
       i += static_cast<std::int64_t>(gridDim.x) * kScaleThreads)
    x[i] = static_cast<T>(f * static_cast<float>(x[i]));
}

/// Calls launch(std::integral_constant<int, kKept>{}).
template <class F>
void with_kept(std::int64_t classes, F&& launch) {
  using std::integral_constant;
  if (classes <= 4 * kSlices) return launch(integral_constant<int, 4>{});
  if (classes <= 16 * kSlices) return launch(integral_constant<int, 16>{});
  launch(integral_constant<int, 64>{});
}
static_assert(kMostFusedClasses <= 64 * kSlices);

}  // namespace

template <class T>
std::size_t loss_gradient_scratch_bytes(CudaStream, std::int64_t n) {
  return kCountBlocks * sizeof(std::int32_t) + static_cast<std::size_t>(n) * sizeof(float);
}

template <class T>
void loss_gradient(CudaStream stream, const LossGradient<T>& c, void* scratch) {
  const std::int64_t n = c.logits.cols;
  auto* counts = static_cast<std::int32_t*>(scratch);
  auto* losses = reinterpret_cast<float*>(counts + kCountBlocks);
  count_kernel<<<kCountBlocks, kCountThreads, 0, handle_of(stream)>>>(c.targets, n, counts);
  LACUNA_CUDA_LAUNCHED("cross_entropy_count");
  if (n > 0) {
    const auto blocks = static_cast<unsigned>((n + kColumns - 1) / kColumns);
    with_kept(c.logits.rows, [&](auto kept) {
      loss_gradient_kernel<T, decltype(kept)::value><<<blocks, dim3(kColumns, kSlices), 0, handle_of(stream)>>>(
          c.logits, c.targets, static_cast<float>(c.label_smoothing), counts, losses, c.dlogits);
    });
    LACUNA_CUDA_LAUNCHED("cross_entropy_loss_gradient");
  }
  mean_kernel<<<1, kMeanThreads, 0, handle_of(stream)>>>(losses, n, counts, c.loss);
  LACUNA_CUDA_LAUNCHED("cross_entropy_mean");
}

template <class T>
void scale_by(CudaStream stream, const wide_t<T>* factor, T* x, std::int64_t n) {
  if (n == 0) return;
  const std::int64_t wanted = (n + 4 * kScaleThreads - 1) / (4 * kScaleThreads);
  const std::int64_t most = 16ll * std::max(stream.multiprocessors, 1);
  scale_by_kernel<T>
      <<<static_cast<unsigned>(std::min(wanted, most)), kScaleThreads, 0, handle_of(stream)>>>(factor, x, n);
  LACUNA_CUDA_LAUNCHED("scale_by");
}

#define LACUNA_INSTANTIATE(T)                                                    \
  template std::size_t loss_gradient_scratch_bytes<T>(CudaStream, std::int64_t); \
  template void loss_gradient<T>(CudaStream, const LossGradient<T>&, void*);     \
  template void scale_by<T>(CudaStream, const wide_t<T>*, T*, std::int64_t);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
