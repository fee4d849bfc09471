// Four warps a row, so that a row's loads are all under way at once; while the kernel before still runs, the row is asked
// into L2. Sums are added in a fixed order.
#include <cstdint>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/quad.cuh"
#include "kernels/gemm/gemv.h"
#include "kernels/pointwise/activation.h"

namespace lacuna::kernels {
namespace {

constexpr int kWarp = 32;
constexpr int kLanes = 128;  // that share a row
constexpr int kRows = 2;     // of a block

template <bool kVector, class T, class Out>
__global__ void __launch_bounds__(kLanes* kRows)
    gemv_kernel(Dense<const T> a, Dense<const T> b, Dense<Out> c, const float* bias, Activation activation) {
  __shared__ float partial[kRows][kLanes / kWarp];
  const int lane = static_cast<int>(threadIdx.x) % kLanes, in_block = static_cast<int>(threadIdx.x) / kLanes;
  const std::int64_t row = std::int64_t{blockIdx.x} * kRows + in_block;
  const bool inside = row < c.rows;
  const T* line = a.data + (inside ? row : 0) * a.ld;
  constexpr std::int64_t kLine = 128 / sizeof(T);
  for (std::int64_t i = lane * kLine; i < a.cols && inside; i += kLanes * kLine)
    asm volatile("prefetch.global.L2 [%0];" ::"l"(line + i));
  wait_for_previous();
  float sum = 0;
  if (inside) {
    if constexpr (kVector) {
#pragma unroll 4
      for (std::int64_t i = lane * 4; i < a.cols; i += kLanes * 4) {
        const float4 x = load_quad(line + i), y = load_quad(b.data + i);
        sum += x.x * y.x + x.y * y.y + x.z * y.z + x.w * y.w;
      }
    } else {
#pragma unroll 4
      for (std::int64_t i = lane; i < a.cols; i += kLanes)
        sum += static_cast<float>(line[i]) * static_cast<float>(b.data[i * b.ld]);
    }
  }
  for (int offset = kWarp / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (lane % kWarp == 0) partial[in_block][lane / kWarp] = sum;
  __syncthreads();
  if (lane != 0 || !inside) return;
  sum = 0;
#pragma unroll
  for (int i = 0; i < kLanes / kWarp; ++i) sum += partial[in_block][i];
  sum = static_cast<float>(static_cast<Out>(sum));
  c.data[row * c.ld] = static_cast<Out>(activate(activation, bias ? sum + bias[row] : sum));
}

}  // namespace

template <class T, class Out>
void gemv(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const Epilogue<const float>& epilogue) {
  if (c.rows == 0) return;
  const bool vector = quad_aligned(a.data) && quad_aligned(b.data) && a.cols % 4 == 0 && a.ld % 4 == 0 && b.ld == 1;
  const auto blocks = static_cast<unsigned>((c.rows + kRows - 1) / kRows);
  launch_early(stream, vector ? gemv_kernel<true, T, Out> : gemv_kernel<false, T, Out>, blocks, kLanes * kRows, 0, 1, a,
               b, c, epilogue.bias, epilogue.activation);
}

#define LACUNA_INSTANTIATE(T, Out)                                                                        \
  template void gemv<T, Out>(CudaStream, const Dense<const T>&, const Dense<const T>&, const Dense<Out>&, \
                             const Epilogue<const float>&);
LACUNA_INSTANTIATE(float, float)
LACUNA_INSTANTIATE(Bf16, Bf16)
LACUNA_INSTANTIATE(Bf16, float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
