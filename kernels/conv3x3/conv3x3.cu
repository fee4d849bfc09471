// A thread makes four neighbouring pixels of kChannels output channels: what it loads of the input serves all of them, and
// nothing but the output is written. Sums run over the taps in order.
#include <cstdint>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/input_row.cuh"
#include "kernels/conv3x3/conv3x3.h"
#include "kernels/pointwise/activation.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 128;
constexpr int kCols = 4;      // pixels of a thread
constexpr int kChannels = 4;  // output channels of a thread
constexpr int kGroups = 2;    // of channels, a block; warps are of one group
constexpr int kBlockChannels = kChannels * kGroups;
constexpr int kQuads = kThreads / kGroups;  // of pixels, a block

// blockIdx.x: pixels; blockIdx.y: channels.
template <int kStride, int kIn, class T>
__global__ void __launch_bounds__(kThreads) conv3x3_kernel(Window window, unsigned quads, int out_channels, const T* w,
                                                           const T* x, T* y, const float* bias, Activation activation) {
  __shared__ __align__(16) float filters[kIn * 9][kBlockChannels];
  __shared__ float shifts[kBlockChannels];
  const unsigned quad = blockIdx.x * kQuads + threadIdx.x % kQuads;
  const int group = static_cast<int>(threadIdx.x) / kQuads, first = static_cast<int>(blockIdx.y) * kBlockChannels;
  const auto across = static_cast<unsigned>(window.out_width / kCols);
  const unsigned line = quad / across;
  const int image = static_cast<int>(line / static_cast<unsigned>(window.out_height));
  const int top = static_cast<int>(line % static_cast<unsigned>(window.out_height));
  const int left = static_cast<int>(quad % across) * kCols;
  wait_for_previous();
  for (int i = static_cast<int>(threadIdx.x); i < kIn * 9 * kBlockChannels; i += kThreads) {
    const int channel = i / (kIn * 9), tap = i % (kIn * 9);
    filters[tap][channel] =
        first + channel < out_channels ? static_cast<float>(w[std::int64_t{first + channel} * kIn * 9 + tap]) : 0.0f;
  }
  if (threadIdx.x < kBlockChannels)
    shifts[threadIdx.x] =
        bias && first + static_cast<int>(threadIdx.x) < out_channels ? bias[first + threadIdx.x] : 0.0f;
  InputRow<kStride, kCols> in[kIn][3] = {};
  if (quad < quads) {
    const T* from = x + image * window.image_size();
#pragma unroll
    for (int channel = 0; channel < kIn; ++channel) {
#pragma unroll
      for (int r = 0; r < 3; ++r)
        in[channel][r] =
            load_input_row<kStride, kCols>(from + channel * window.size(), window, top * kStride - 1 + r, left);
    }
  }
  __syncthreads();
  if (quad >= quads) return;
  float sums[kChannels][kCols] = {};
#pragma unroll
  for (int channel = 0; channel < kIn; ++channel) {
#pragma unroll
    for (int tap = 0; tap < 9; ++tap) {
      const float4 filter = *reinterpret_cast<const float4*>(&filters[channel * 9 + tap][group * kChannels]);
      const float f[kChannels] = {filter.x, filter.y, filter.z, filter.w};
#pragma unroll
      for (int o = 0; o < kChannels; ++o)
#pragma unroll
        for (int c = 0; c < kCols; ++c) sums[o][c] += f[o] * in[channel][tap / 3].v[c * kStride + tap % 3];
    }
  }
  T* to = y + image * window.out_image_size() + std::int64_t{top} * window.out_width + left;
#pragma unroll
  for (int o = 0; o < kChannels; ++o) {
    const int channel = group * kChannels + o;
    if (first + channel >= out_channels) return;
#pragma unroll
    for (int c = 0; c < kCols; ++c) sums[o][c] = activate(activation, bias ? sums[o][c] + shifts[channel] : sums[o][c]);
    store_pixels<kCols>(to + (first + channel) * window.out_size(), sums[o]);
  }
}

}  // namespace

template <class T>
void conv3x3(CudaStream stream, std::int64_t in_channels, std::int64_t out_channels, const Window& window, const T* w,
             const T* x, T* y, const Epilogue<const float>& epilogue) {
  const std::int64_t quads = window.out_size() / kCols, tiles = (out_channels + kBlockChannels - 1) / kBlockChannels;
  if (quads == 0 || out_channels == 0) return;
  const auto kernel = window.stride == 1
                          ? (in_channels == 1 ? conv3x3_kernel<1, 1, T> : conv3x3_kernel<1, 3, T>)
                          : (in_channels == 1 ? conv3x3_kernel<2, 1, T> : conv3x3_kernel<2, 3, T>);
  launch_early(stream, kernel, dim3(static_cast<unsigned>((quads + kQuads - 1) / kQuads), static_cast<unsigned>(tiles)),
               kThreads, 0, 1, window, static_cast<unsigned>(quads), static_cast<int>(out_channels), w, x, y,
               epilogue.bias, epilogue.activation);
}

#define LACUNA_INSTANTIATE(T)                                                                             \
  template void conv3x3<T>(CudaStream, std::int64_t, std::int64_t, const Window&, const T*, const T*, T*, \
                           const Epilogue<const float>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
