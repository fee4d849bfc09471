// Blocks of 32 adjacent columns by kSlices class slices: a warp reads 32 neighbours of one row, every slice takes every
// kSlices-th class, and the slices are joined in shared memory in a fixed order.
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>

#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/reduce/block_reduce.cuh"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kColumns = 32;
constexpr int kSlices = 16;
constexpr int kUnroll = 4;
constexpr int kFinalThreads = 1024;
constexpr int kGradientThreads = 128;
constexpr int kGradientClasses = 16;

cudaStream_t handle_of(const CudaStream& stream) { return static_cast<cudaStream_t>(stream.handle); }

/// Sum of exponentials of the values seen, relative to the largest: sum * exp(shift(largest)).
struct Exponentials {  // no initialisers: it lives in shared memory
  float largest;
  float sum;
};

/// An infinite maximum would turn into inf - inf; relative to 0 the result is the right infinity.
__device__ float shift_of(float largest) { return isinf(largest) ? 0.0f : largest; }

/// The sum relative to another shift. Nothing seen yet is 0, or NaN if NaN was seen: that must not be scaled by inf.
__device__ float rescaled(const Exponentials& e, float shift) {
  return e.largest == -INFINITY ? e.sum : e.sum * expf(shift_of(e.largest) - shift);
}

__device__ Exponentials joined(const Exponentials& a, const Exponentials& b) {
  const float largest = fmaxf(a.largest, b.largest), shift = shift_of(largest);
  return {largest, rescaled(a, shift) + rescaled(b, shift)};
}

/// One value joins. fmaxf passes over NaN, the exponential does not.
__device__ Exponentials joined(const Exponentials& a, float value) {
  const float largest = fmaxf(a.largest, value), shift = shift_of(largest);
  return {largest, rescaled(a, shift) + expf(value - shift)};
}

/// losses[j] and log_sum_exp[j]; an ignored column's loss is written as 0 and not counted later.
template <class T>
__global__ void __launch_bounds__(kColumns* kSlices)
    column_losses_kernel(Dense<const T> logits, const std::int32_t* targets, float label_smoothing, float* log_sum_exp,
                         float* losses) {
  __shared__ Exponentials slices[kSlices][kColumns];
  __shared__ float totals[kSlices][kColumns];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  const std::int64_t classes = logits.rows, ld = logits.ld;
  Exponentials mine{-INFINITY, 0};
  float total = 0;
  if (column < logits.cols) {
    const T* at = logits.data + column;
    std::int64_t c = threadIdx.y;
    for (; c + (kUnroll - 1) * kSlices < classes; c += kUnroll * kSlices) {
      float values[kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) values[u] = at[(c + u * kSlices) * ld];
      float largest = mine.largest;
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) largest = fmaxf(largest, values[u]);
      const float shift = shift_of(largest);
      float sum = rescaled(mine, shift);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) sum += expf(values[u] - shift);
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) total += values[u];
      mine = {largest, sum};
    }
    for (; c < classes; c += kSlices) {
      const float value = at[c * ld];
      mine = joined(mine, value);
      total += value;
    }
  }
  slices[threadIdx.y][threadIdx.x] = mine;
  totals[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || column >= logits.cols) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    mine = joined(mine, slices[slice][threadIdx.x]);
    total += totals[slice][threadIdx.x];
  }
  const float lse = shift_of(mine.largest) + logf(mine.sum);
  log_sum_exp[column] = lse;
  const std::int64_t target = targets[column];
  float loss = 0;
  if (target >= classes) {
    loss = NAN;  // the host cannot look at targets without waiting; a loss that is not a number cannot be overlooked
  } else if (target >= 0) {
    // Differences to lse first: the terms are close, their sum is small.
    loss = (1 - label_smoothing) * (lse - logits.data[target * ld + column]);
    if (label_smoothing > 0) loss += label_smoothing * (lse - total / static_cast<float>(classes));
  }
  losses[column] = loss;
}

__global__ void __launch_bounds__(kFinalThreads)
    mean_loss_kernel(const float* losses, const std::int32_t* targets, std::int64_t n, float* loss, float* count) {
  double sum = 0, counted = 0;
  for (std::int64_t j = threadIdx.x; j < n; j += kFinalThreads) {
    if (targets[j] < 0) continue;
    sum += losses[j];
    counted += 1;
  }
  sum = block_sum<kFinalThreads>(sum);
  __syncthreads();  // both sums use the same shared memory
  counted = block_sum<kFinalThreads>(counted);
  if (threadIdx.x != 0) return;
  loss[0] = static_cast<float>(sum / counted);  // 0 / 0 = NaN, as in torch
  count[0] = static_cast<float>(counted);
}

/// blockIdx.x: columns; blockIdx.y strides over stretches of kGradientClasses classes.
template <class T>
__global__ void __launch_bounds__(kGradientThreads)
    gradient_kernel(Dense<const T> logits, const std::int32_t* targets, float label_smoothing, const float* dloss,
                    const float* log_sum_exp, const float* count, Dense<T> dlogits) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kGradientThreads + threadIdx.x;
  if (column >= logits.cols) return;
  const float factor = dloss[0] / count[0], lse = log_sum_exp[column];
  const float uniform = label_smoothing / static_cast<float>(logits.rows);
  const std::int64_t target = targets[column];
  for (std::int64_t begin = static_cast<std::int64_t>(blockIdx.y) * kGradientClasses; begin < logits.rows;
       begin += static_cast<std::int64_t>(gridDim.y) * kGradientClasses) {
    const std::int64_t end = min(static_cast<long long>(begin + kGradientClasses), static_cast<long long>(logits.rows));
#pragma unroll 4
    for (std::int64_t c = begin; c < end; ++c) {
      const float softmax = expf(logits.data[c * logits.ld + column] - lse);
      const float difference = softmax - (c == target ? 1 - label_smoothing : 0.0f) - uniform;
      dlogits.data[c * dlogits.ld + column] = static_cast<T>(target < 0 ? 0.0f : factor * difference);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kColumns* kSlices)
    correct_kernel(Dense<const T> logits, const std::int32_t* targets, float* correct) {
  __shared__ float values[kSlices][kColumns];
  __shared__ std::int32_t indices[kSlices][kColumns];
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + threadIdx.x;
  float largest = -INFINITY;
  std::int32_t index = 0x7FFFFFFF;  // nothing above -inf yet
  if (column < logits.cols) {
    for (std::int64_t c = threadIdx.y; c < logits.rows; c += kSlices) {
      const float value = logits.data[c * logits.ld + column];
      if (value > largest) largest = value, index = static_cast<std::int32_t>(c);
    }
  }
  values[threadIdx.y][threadIdx.x] = largest;
  indices[threadIdx.y][threadIdx.x] = index;
  __syncthreads();
  if (threadIdx.y != 0 || column >= logits.cols) return;
  for (int slice = 1; slice < kSlices; ++slice) {
    const float value = values[slice][threadIdx.x];
    const std::int32_t other = indices[slice][threadIdx.x];
    if (value > largest || (value == largest && other < index)) largest = value, index = other;
  }
  if (index == 0x7FFFFFFF) index = 0;  // all -inf: they are equal, so the first
  correct[column] = targets[column] >= 0 && targets[column] == index ? 1.0f : 0.0f;
}

__global__ void __launch_bounds__(kFinalThreads) total_kernel(const float* values, std::int64_t n, float* out) {
  double sum = 0;
  for (std::int64_t j = threadIdx.x; j < n; j += kFinalThreads) sum += values[j];
  sum = block_sum<kFinalThreads>(sum);
  if (threadIdx.x == 0) out[0] = static_cast<float>(sum);
}

unsigned column_blocks(std::int64_t n, int columns) { return static_cast<unsigned>((n + columns - 1) / columns); }

}  // namespace

template <class T>
void cross_entropy(CudaStream stream, const Dense<const T>& logits, const std::int32_t* targets, double label_smoothing,
                   acc_t<T>* loss, const CrossEntropySaved<acc_t<T>>& saved, acc_t<T>* scratch) {
  if (logits.cols > 0) {
    column_losses_kernel<<<column_blocks(logits.cols, kColumns), dim3(kColumns, kSlices), 0, handle_of(stream)>>>(
        logits, targets, static_cast<float>(label_smoothing), saved.log_sum_exp, scratch);
    LACUNA_CUDA_LAUNCHED("cross_entropy");
  }
  mean_loss_kernel<<<1, kFinalThreads, 0, handle_of(stream)>>>(scratch, targets, logits.cols, loss, saved.count);
  LACUNA_CUDA_LAUNCHED("cross_entropy_mean");
}

template <class T>
void cross_entropy_gradient(CudaStream stream, const Dense<const T>& logits, const std::int32_t* targets,
                            double label_smoothing, const acc_t<T>* dloss,
                            const CrossEntropySaved<const acc_t<T>>& saved, const Dense<T>& dlogits) {
  if (logits.rows == 0 || logits.cols == 0) return;
  const std::int64_t stretches = (logits.rows + kGradientClasses - 1) / kGradientClasses;
  const dim3 grid(column_blocks(logits.cols, kGradientThreads),
                  static_cast<unsigned>(std::min<std::int64_t>(stretches, 65535)));
  gradient_kernel<<<grid, kGradientThreads, 0, handle_of(stream)>>>(logits, targets,
                                                                    static_cast<float>(label_smoothing), dloss,
                                                                    saved.log_sum_exp, saved.count, dlogits);
  LACUNA_CUDA_LAUNCHED("cross_entropy_gradient");
}

template <class T>
void count_correct(CudaStream stream, const Dense<const T>& logits, const std::int32_t* targets, float* correct,
                   float* scratch) {
  if (logits.cols > 0) {
    correct_kernel<<<column_blocks(logits.cols, kColumns), dim3(kColumns, kSlices), 0, handle_of(stream)>>>(
        logits, targets, scratch);
    LACUNA_CUDA_LAUNCHED("count_correct");
  }
  total_kernel<<<1, kFinalThreads, 0, handle_of(stream)>>>(scratch, logits.cols, correct);
  LACUNA_CUDA_LAUNCHED("count_correct_total");
}

#define LACUNA_INSTANTIATE(T)                                                                                    \
  template void cross_entropy<T>(CudaStream, const Dense<const T>&, const std::int32_t*, double, float*,         \
                                 const CrossEntropySaved<float>&, float*);                                       \
  template void cross_entropy_gradient<T>(CudaStream, const Dense<const T>&, const std::int32_t*, double,        \
                                          const float*, const CrossEntropySaved<const float>&, const Dense<T>&); \
  template void count_correct<T>(CudaStream, const Dense<const T>&, const std::int32_t*, float*, float*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
