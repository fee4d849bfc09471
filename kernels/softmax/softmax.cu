// Softmax on CUDA. A team of threads owns a row: a warp up to 1024 columns, else a block. The row stays in registers up
// to kHeldRow columns; longer rows are read once per pass, from L2 where they fit. Causal rows skip what they exclude.
#include <type_traits>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/softmax/softmax.h"

namespace lacuna::kernels {
namespace {

constexpr int kWarpsPerBlock = 4;      // of the warp-per-row form
constexpr int kWarpRow = 1024;         // longest row of a warp
constexpr int kHeldPerThread = 16;     // of the block-per-row form
constexpr int kHeldRow = 1024 * kHeldPerThread;
constexpr int kLongRowThreads = 1024;  // of the form that holds nothing

// A warp or a block that shares one row.
template <bool kBlock>
struct Team {
  float* shared;
  __device__ int rank() const { return kBlock ? threadIdx.x : threadIdx.x % kWarp; }
  __device__ int size() const { return kBlock ? blockDim.x : kWarp; }
  __device__ std::int64_t row() const {
    return kBlock ? std::int64_t{blockIdx.x} : std::int64_t{blockIdx.x} * kWarpsPerBlock + threadIdx.x / kWarp;
  }
  __device__ float sum(float value) const {
    if constexpr (!kBlock) return warp_sum(value);
    float values[1] = {value};
    block_sum(values, shared);
    return values[0];
  }
  __device__ float max(float value) const {
    if constexpr (!kBlock) return warp_max(value);
    return block_max(value, shared);
  }
  // Calls f(column, slot) for this thread's columns of [0, length). kHeld = 0: any length, slot is meaningless.
  template <int kHeld, class F>
  __device__ __forceinline__ void for_columns(int length, F&& f) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int slot = 0; slot < kHeld; ++slot) {
        const int column = slot * size() + rank();
        if (column < length) f(column, slot);
      }
    } else {
#pragma unroll 4
      for (int column = rank(); column < length; column += size()) f(column, 0);
    }
  }
};

__device__ __forceinline__ int row_length(std::int64_t row, int cols, bool causal) {
  return causal ? static_cast<int>(row % cols) + 1 : cols;
}

__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }

template <bool kBlock, int kHeld>
__global__ void __launch_bounds__(kBlock ? 1024 : kWarpsPerBlock * kWarp) softmax_kernel(Dense<const float> x, float scale, bool causal, Dense<float> y) {
  __shared__ float shared[kWarp];
  const Team<kBlock> team{shared};
  const std::int64_t row = team.row();
  if (row >= x.rows) return;  // whole teams only
  const int cols = static_cast<int>(x.cols);
  const int length = row_length(row, cols, causal);
  const float* __restrict__ in = x.data + row * x.ld;
  float* __restrict__ out = y.data + row * y.ld;
  float held[kHeld > 0 ? kHeld : 1] = {};
  if constexpr (kHeld > 0)
    team.template for_columns<kHeld>(length, [&](int column, int slot) { held[slot] = scale * in[column]; });
  const auto value = [&](int column, int slot) { return kHeld > 0 ? held[slot] : scale * in[column]; };

  float largest = minus_infinity();  // fmaxf drops NaN; it reaches the sum through expf below
  team.template for_columns<kHeld>(length, [&](int column, int slot) { largest = fmaxf(largest, value(column, slot)); });
  largest = team.max(largest);
  float sum = 0;
  team.template for_columns<kHeld>(length, [&](int column, int slot) {
    const float power = expf(value(column, slot) - largest);
    if constexpr (kHeld > 0) held[slot] = power;
    sum += power;
  });
  const float inverse = 1.0f / team.sum(sum);
  team.template for_columns<kHeld>(length, [&](int column, int slot) {
    out[column] = (kHeld > 0 ? held[slot] : expf(value(column, slot) - largest)) * inverse;
  });
  for (int column = length + team.rank(); column < cols; column += team.size()) out[column] = 0.0f;
}

template <bool kBlock, int kHeld>
__global__ void __launch_bounds__(kBlock ? 1024 : kWarpsPerBlock * kWarp) softmax_dx_kernel(Dense<const float> p, Dense<const float> dp, float scale, bool causal,
                                  Dense<float> dx) {
  __shared__ float shared[kWarp];
  const Team<kBlock> team{shared};
  const std::int64_t row = team.row();
  if (row >= p.rows) return;
  const int cols = static_cast<int>(p.cols);
  const int length = row_length(row, cols, causal);
  const float* __restrict__ prob = p.data + row * p.ld;
  const float* gradient = dp.data + row * dp.ld;
  float* out = dx.data + row * dx.ld;  // may be gradient
  float held_p[kHeld > 0 ? kHeld : 1] = {};
  float held_dp[kHeld > 0 ? kHeld : 1] = {};
  float dot = 0;
  team.template for_columns<kHeld>(length, [&](int column, int slot) {
    held_p[slot] = prob[column];
    held_dp[slot] = gradient[column];
    if constexpr (kHeld == 0) dot += held_p[slot] * held_dp[slot];
  });
  if constexpr (kHeld > 0)  // after all loads are in flight
    team.template for_columns<kHeld>(length, [&](int, int slot) { dot += held_p[slot] * held_dp[slot]; });
  dot = team.sum(dot);
  team.template for_columns<kHeld>(length, [&](int column, int slot) {
    const float weight = kHeld > 0 ? held_p[slot] : prob[column];
    out[column] = scale * weight * ((kHeld > 0 ? held_dp[slot] : gradient[column]) - dot);
  });
  for (int column = length + team.rank(); column < cols; column += team.size()) out[column] = 0.0f;
}

struct Launch {
  unsigned blocks;
  unsigned threads;
};

// Picks the form by the row's length: launch(block per row?, values held per thread, grid).
template <class F>
void with_team(std::int64_t rows, std::int64_t cols, F&& launch) {
  using std::bool_constant;
  using std::integral_constant;
  if (cols <= kWarpRow) {
    const Launch grid{static_cast<unsigned>((rows + kWarpsPerBlock - 1) / kWarpsPerBlock), kWarpsPerBlock * kWarp};
    if (cols <= 4 * kWarp) return launch(bool_constant<false>{}, integral_constant<int, 4>{}, grid);
    if (cols <= 16 * kWarp) return launch(bool_constant<false>{}, integral_constant<int, 16>{}, grid);
    return launch(bool_constant<false>{}, integral_constant<int, 32>{}, grid);
  }
  const auto blocks = static_cast<unsigned>(rows);
  if (cols > kHeldRow) return launch(bool_constant<true>{}, integral_constant<int, 0>{}, Launch{blocks, kLongRowThreads});
  const std::int64_t threads = (cols + kHeldPerThread - 1) / kHeldPerThread;
  const Launch grid{blocks, static_cast<unsigned>((threads + kWarp - 1) / kWarp * kWarp)};
  launch(bool_constant<true>{}, integral_constant<int, kHeldPerThread>{}, grid);
}

}  // namespace

template <class T>
void softmax(CudaStream stream, const Dense<const T>& x, double scale, bool causal, const Dense<T>& y) {
  if (x.rows == 0 || x.cols == 0) return;
  with_team(x.rows, x.cols, [&](auto block, auto held, Launch grid) {
    softmax_kernel<decltype(block)::value, decltype(held)::value>
        <<<grid.blocks, grid.threads, 0, (cudaStream_t)stream.handle>>>(x, static_cast<float>(scale), causal, y);
  });
  LACUNA_CUDA_LAUNCHED("softmax");
}

template <class T>
void softmax_dx(CudaStream stream, const Dense<const T>& p, const Dense<const T>& dp, double scale, bool causal,
                const Dense<T>& dx) {
  if (p.rows == 0 || p.cols == 0) return;
  with_team(p.rows, p.cols, [&](auto block, auto held, Launch grid) {
    softmax_dx_kernel<decltype(block)::value, decltype(held)::value>
        <<<grid.blocks, grid.threads, 0, (cudaStream_t)stream.handle>>>(p, dp, static_cast<float>(scale), causal, dx);
  });
  LACUNA_CUDA_LAUNCHED("softmax_dx");
}

template void softmax<float>(CudaStream, const Dense<const float>&, double, bool, const Dense<float>&);
template void softmax_dx<float>(CudaStream, const Dense<const float>&, const Dense<const float>&, double, bool,
                                const Dense<float>&);

}  // namespace lacuna::kernels
