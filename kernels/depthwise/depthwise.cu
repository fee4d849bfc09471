// Depthwise convolution on CUDA, memory-bound; 3x3 windows with padding 1 over even widths go to depthwise_packs.cu.
// Neighbouring threads own neighbouring output columns, running on over rows
// and images, so that 2 x 2 images still fill warps. The 3x3 kernels own kRows output rows per thread: each input row is
// loaded once for all of them.
#include <algorithm>
#include <type_traits>

#include "kernels/common/chunks.h"
#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/depthwise/depthwise.h"
#include "kernels/depthwise/depthwise_packs.h"
#include "kernels/depthwise/places.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

// A thread's share of a channel: `rows` output rows from `y` on, at column x of an image.
struct Strip {
  int image, y, x;
};

__host__ __device__ constexpr int strips_per_column(int out_height, int rows) { return (out_height + rows - 1) / rows; }

template <int kRows>
__device__ __forceinline__ Strip strip_of(unsigned index, const Window& window) {
  const auto groups = static_cast<unsigned>(strips_per_column(window.out_height, kRows));
  const unsigned line = index / static_cast<unsigned>(window.out_width);
  return {static_cast<int>(line / groups), static_cast<int>(line % groups) * kRows,
          static_cast<int>(index % static_cast<unsigned>(window.out_width))};
}

template <int kRows>
std::int64_t num_strips(const Window& window) {
  return std::int64_t{window.batch} * strips_per_column(window.out_height, kRows) * window.out_width;
}

__device__ __forceinline__ float read(const float* p) { return __ldg(p); }
__device__ __forceinline__ float read(const Bf16* p) {
  return __uint_as_float(static_cast<unsigned>(__ldg(&p->bits)) << 16);
}

// Three neighbouring pixels of row y from column x on; 0 outside the image.
struct Triple {
  float v[3];
};

template <class T>
__device__ __forceinline__ Triple load_triple(const T* image, const Window& window, int y, int x) {
  Triple triple{};
  if (y < 0 || y >= window.height) return triple;
  const T* row = image + std::int64_t{y} * window.width;
#pragma unroll
  for (int i = 0; i < 3; ++i)
    if (x + i >= 0 && x + i < window.width) triple.v[i] = read(row + x + i);
  return triple;
}

// What is stored of a sum.
template <bool kRelu>
__device__ __forceinline__ float finished(float sum, float shift) {
  return kRelu ? relu(sum + shift) : sum + shift;
}

// kFlip: with the filter turned by half a turn, which makes the forward pass its own input gradient at stride 1.
template <int kStride, int kRows, bool kFlip, bool kRelu, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise3x3_kernel(Window window, Places places, const float* __restrict__ w, const T* __restrict__ x,
                        T* __restrict__ y, const float* __restrict__ bias) {
  const Place place = place_of(places);
  const std::int64_t channel = place.channel;
  const Strip strip = strip_of<kRows>(place.index, window);
  wait_for_previous();
  if (!place.exists) return;
  float filter[9];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) filter[tap] = __ldg(w + channel * 9 + (kFlip ? 8 - tap : tap));
  const T* image = x + channel * window.size() + strip.image * window.image_size();
  const int top = strip.y * kStride - window.padding;
  const int left = strip.x * kStride - window.padding;
  float sums[kRows] = {};
#pragma unroll
  for (int r = 0; r < (kRows - 1) * kStride + 3; ++r) {
    const Triple in = load_triple(image, window, top + r, left);
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      const int ky = r - o * kStride;
      if (ky < 0 || ky > 2) continue;
#pragma unroll
      for (int kx = 0; kx < 3; ++kx) sums[o] += filter[ky * 3 + kx] * in.v[kx];
    }
  }
  T* out = y + channel * window.out_size() + strip.image * window.out_image_size() + strip.x;
  const float shift = bias == nullptr ? 0.0f : __ldg(bias + channel);
#pragma unroll
  for (int o = 0; o < kRows; ++o)
    if (strip.y + o < window.out_height)
      out[std::int64_t{strip.y + o} * window.out_width] = static_cast<T>(finished<kRelu>(sums[o], shift));
}

template <bool kRelu, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_kernel(Window window, unsigned blocks_per_channel, const float* __restrict__ w, const T* __restrict__ x,
                     T* __restrict__ y, const float* __restrict__ bias) {
  const std::int64_t channel = blockIdx.x / blocks_per_channel;
  const unsigned index = blockIdx.x % blocks_per_channel * kThreads + threadIdx.x;
  if (index >= window.out_size()) return;
  const Strip out = strip_of<1>(index, window);
  const T* image = x + channel * window.size() + out.image * window.image_size();
  const float* filter = w + channel * window.taps();
  float sum = 0;
  for (int ky = 0; ky < window.kernel; ++ky) {
    const int iy = out.y * window.stride + ky - window.padding;
    if (iy < 0 || iy >= window.height) continue;
    for (int kx = 0; kx < window.kernel; ++kx) {
      const int ix = out.x * window.stride + kx - window.padding;
      if (ix >= 0 && ix < window.width) sum += filter[ky * window.kernel + kx] * image[iy * window.width + ix];
    }
  }
  const float shift = bias == nullptr ? 0.0f : __ldg(bias + channel);
  y[channel * window.out_size() + index] = static_cast<T>(finished<kRelu>(sum, shift));
}

// A thread per input pixel gathers from the outputs that read it. kKernel = 0: the window's sizes.
template <int kKernel, int kStride, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_dx_kernel(Window window, unsigned blocks_per_channel, const float* __restrict__ w,
                        const T* __restrict__ dy, T* __restrict__ dx) {
  const int kernel = kKernel > 0 ? kKernel : window.kernel;
  const int stride = kStride > 0 ? kStride : window.stride;
  const std::int64_t channel = blockIdx.x / blocks_per_channel;
  const unsigned index = blockIdx.x % blocks_per_channel * kThreads + threadIdx.x;
  if (index >= window.size()) return;
  const unsigned line = index / static_cast<unsigned>(window.width);
  const int image = static_cast<int>(line / static_cast<unsigned>(window.height));
  const int iy = static_cast<int>(line % static_cast<unsigned>(window.height));
  const int ix = static_cast<int>(index % static_cast<unsigned>(window.width));
  const T* gradient = dy + channel * window.out_size() + image * window.out_image_size();
  const float* filter = w + channel * window.taps();
  float sum = 0;
#pragma unroll(kKernel > 0 ? kKernel : 1)
  for (int ky = 0; ky < kernel; ++ky) {
    const int y = iy + window.padding - ky;  // stride times the output row that reads this pixel through tap ky
    const bool row_hits = y >= 0 && y % stride == 0 && y / stride < window.out_height;
#pragma unroll(kKernel > 0 ? kKernel : 1)
    for (int kx = 0; kx < kernel; ++kx) {
      const int x = ix + window.padding - kx;
      if (row_hits && x >= 0 && x % stride == 0 && x / stride < window.out_width)
        sum += __ldg(filter + ky * kernel + kx) * read(gradient + (y / stride) * window.out_width + x / stride);
    }
  }
  dx[channel * window.size() + index] = static_cast<T>(sum);
}

// Stage one of dw: a block per (channel, chunk of strips), nine sums per thread. partials is [c * 9, chunks].
template <int kStride, int kRows, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise3x3_dw_kernel(Window window, unsigned strips, Chunks chunks, const T* __restrict__ x,
                           const T* __restrict__ dy, float* __restrict__ partials) {
  __shared__ float shared[9 * kWarp];
  const std::int64_t channel = blockIdx.x / chunks.count;
  const std::int64_t piece = blockIdx.x % chunks.count;
  const auto end = static_cast<unsigned>(min((piece + 1) * chunks.size, std::int64_t{strips}));
  float sums[9] = {};
  for (unsigned index = static_cast<unsigned>(piece * chunks.size) + threadIdx.x; index < end; index += kThreads) {
    const Strip strip = strip_of<kRows>(index, window);
    const T* image = x + channel * window.size() + strip.image * window.image_size();
    const T* out = dy + channel * window.out_size() + strip.image * window.out_image_size() + strip.x;
    float gradient[kRows] = {};
#pragma unroll
    for (int o = 0; o < kRows; ++o)
      if (strip.y + o < window.out_height) gradient[o] = read(out + std::int64_t{strip.y + o} * window.out_width);
#pragma unroll
    for (int r = 0; r < (kRows - 1) * kStride + 3; ++r) {
      const Triple in =
          load_triple(image, window, strip.y * kStride - window.padding + r, strip.x * kStride - window.padding);
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        const int ky = r - o * kStride;
        if (ky < 0 || ky > 2 || strip.y + o >= window.out_height) continue;  // no output there: x may hold NaN
#pragma unroll
        for (int kx = 0; kx < 3; ++kx) sums[ky * 3 + kx] += gradient[o] * in.v[kx];
      }
    }
  }
  block_sum(sums, shared);
#pragma unroll
  for (int tap = 0; tap < 9; ++tap)
    if (threadIdx.x == tap) partials[(channel * 9 + tap) * chunks.count + piece] = sums[tap];
}

// The same for any window: a block per (channel, tap, chunk of outputs). partials is [c * k * k, chunks].
template <class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_dw_kernel(Window window, Chunks chunks, const T* __restrict__ x, const T* __restrict__ dy,
                        float* __restrict__ partials) {
  __shared__ float shared[kWarp];
  const std::int64_t row = blockIdx.x / chunks.count;
  const std::int64_t channel = row / window.taps();
  const int tap = static_cast<int>(row % window.taps());
  const std::int64_t piece = blockIdx.x % chunks.count;
  const auto end = static_cast<unsigned>(min((piece + 1) * chunks.size, window.out_size()));
  float sums[1] = {};
  for (unsigned index = static_cast<unsigned>(piece * chunks.size) + threadIdx.x; index < end; index += kThreads) {
    const Strip out = strip_of<1>(index, window);
    const int iy = out.y * window.stride + tap / window.kernel - window.padding;
    const int ix = out.x * window.stride + tap % window.kernel - window.padding;
    if (iy < 0 || iy >= window.height || ix < 0 || ix >= window.width) continue;
    sums[0] += dy[channel * window.out_size() + index] *
               x[channel * window.size() + out.image * window.image_size() + iy * window.width + ix];
  }
  block_sum(sums, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sums[0];
}

unsigned blocks_for(std::int64_t positions) { return static_cast<unsigned>((positions + kThreads - 1) / kThreads); }

bool is_fast(const Window& window) { return window.kernel == 3 && (window.stride == 1 || window.stride == 2); }

// Calls launch(stride, rows per thread) for a 3x3 window of stride 1 or 2; short images get short strips.
template <class F>
auto with_strips(const Window& window, F&& launch) {
  using std::integral_constant;
  const auto with_rows = [&](auto stride) {
    if (window.out_height >= 4) return launch(stride, integral_constant<int, 4>{});
    if (window.out_height >= 2) return launch(stride, integral_constant<int, 2>{});
    return launch(stride, integral_constant<int, 1>{});
  };
  return window.stride == 1 ? with_rows(integral_constant<int, 1>{}) : with_rows(integral_constant<int, 2>{});
}

template <bool kFlip, bool kRelu, class T>
void launch_fast(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* x, T* y,
                 const float* bias) {
  if (depthwise_packs(stream, channels, window, w, x, y, bias, kRelu, kFlip)) return;
  const auto start = [&](auto stride, auto rows) {
    constexpr int kRows = decltype(rows)::value;
    const PlacesLaunch share = share_places(channels, num_strips<kRows>(window), kThreads);
    launch_early(stream, depthwise3x3_kernel<decltype(stride)::value, kRows, kFlip, kRelu, T>, share.blocks,
                 share.threads, 0, 1, window, share.places, w, x, y, bias);
  };
  constexpr std::int64_t kFew = 1 << 16;  // threads; as in depthwise_packs.cu
  if (channels * num_strips<4>(window) >= kFew) return with_strips(window, start);
  using std::integral_constant;
  if (window.stride == 1) return start(integral_constant<int, 1>{}, integral_constant<int, 1>{});
  start(integral_constant<int, 2>{}, integral_constant<int, 1>{});
}

Chunks dw_chunks(CudaStream stream, std::int64_t channels, const Window& window) {
  if (!is_fast(window)) return plan_chunks(channels * window.taps(), window.out_size(), stream.multiprocessors, kThreads);
  return with_strips(window, [&](auto, auto rows) {
    return plan_chunks(channels, num_strips<decltype(rows)::value>(window), stream.multiprocessors, kThreads);
  });
}

template <bool kRelu, class T>
void launch_depthwise(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* x, T* y,
                      const float* bias) {
  if (is_fast(window)) return launch_fast<false, kRelu>(stream, channels, window, w, x, y, bias);
  const unsigned blocks = blocks_for(window.out_size());
  depthwise_kernel<kRelu><<<static_cast<unsigned>(channels * blocks), kThreads, 0, (cudaStream_t)stream.handle>>>(
      window, blocks, w, x, y, bias);
  LACUNA_CUDA_LAUNCHED("depthwise");
}

}  // namespace

template <class T>
void depthwise(CudaStream stream, std::int64_t channels, const Window& window, const acc_t<T>* w, const T* x, T* y,
               const Epilogue<const acc_t<T>>& epilogue) {
  if (channels == 0 || window.out_size() == 0) return;
  if (epilogue.activation == Activation::relu)
    return launch_depthwise<true>(stream, channels, window, w, x, y, epilogue.bias);
  launch_depthwise<false>(stream, channels, window, w, x, y, epilogue.bias);
  if (epilogue.activation == Activation::none) return;
  const Dense<T> out{y, channels, window.out_size(), window.out_size()};  // gelu: no model has it here
  apply_epilogue<T>(stream, {y, out.rows, out.cols, out.ld}, {nullptr, epilogue.activation}, out);
}

template <class T>
void depthwise_dx(CudaStream stream, std::int64_t channels, const Window& window, const acc_t<T>* w, const T* dy,
                  T* dx) {
  if (channels == 0 || window.size() == 0) return;
  if (window.kernel == 3 && window.stride == 1 && window.padding <= 2) {
    // At stride 1 the adjoint is a convolution of dy with the turned filter and padding k - 1 - padding.
    const Window adjoint{window.batch, window.out_height, window.out_width, window.height, window.width, 3, 1,
                         2 - window.padding};
    return launch_fast<true, false>(stream, channels, adjoint, w, dy, dx, nullptr);
  }
  if (depthwise_packs_dx(stream, channels, window, w, dy, dx)) return;
  const unsigned blocks = blocks_for(window.size());
  const auto grid = static_cast<unsigned>(channels * blocks);
  if (window.kernel == 3 && window.stride == 2) {
    depthwise_dx_kernel<3, 2><<<grid, kThreads, 0, (cudaStream_t)stream.handle>>>(window, blocks, w, dy, dx);
  } else {
    depthwise_dx_kernel<0, 0><<<grid, kThreads, 0, (cudaStream_t)stream.handle>>>(window, blocks, w, dy, dx);
  }
  LACUNA_CUDA_LAUNCHED("depthwise_dx");
}

template <class T>
std::size_t depthwise_dw_scratch_bytes(CudaStream stream, std::int64_t channels, const Window& window) {
  const std::int64_t count =  // whichever kernel runs: addresses are not known here
      std::max(dw_chunks(stream, channels, window).count, depthwise_packs_dw_count(stream, channels, window));
  return static_cast<std::size_t>(channels * window.taps() * count) * sizeof(float);
}

template <class T>
void depthwise_dw(CudaStream stream, std::int64_t channels, const Window& window, const T* x, const T* dy, acc_t<T>* dw,
                  void* scratch) {
  if (channels == 0) return;
  const Chunks chunks = dw_chunks(stream, channels, window);
  const auto handle = (cudaStream_t)stream.handle;
  auto* partials = static_cast<float*>(scratch);
  const std::int64_t rows = channels * window.taps();
  if (depthwise_packs_dw(stream, channels, window, x, dy, partials)) {
    sum_partials<<<sum_partials_blocks(rows), kSumThreads, 0, handle>>>(
        partials, rows, depthwise_packs_dw_count(stream, channels, window), dw);
    LACUNA_CUDA_LAUNCHED("sum_partials");
    return;
  }
  if (is_fast(window)) {
    with_strips(window, [&](auto stride, auto strip_rows) {
      constexpr int kRows = decltype(strip_rows)::value;
      depthwise3x3_dw_kernel<decltype(stride)::value, kRows>
          <<<static_cast<unsigned>(channels * chunks.count), kThreads, 0, handle>>>(
              window, static_cast<unsigned>(num_strips<kRows>(window)), chunks, x, dy, partials);
    });
  } else {
    depthwise_dw_kernel<<<static_cast<unsigned>(rows * chunks.count), kThreads, 0, handle>>>(window, chunks, x, dy,
                                                                                           partials);
  }
  LACUNA_CUDA_LAUNCHED("depthwise_dw");
  sum_partials<<<sum_partials_blocks(rows), kSumThreads, 0, handle>>>(partials, rows, chunks.count, dw);
  LACUNA_CUDA_LAUNCHED("sum_partials");
}

#define LACUNA_INSTANTIATE(T)                                                                         \
  template void depthwise<T>(CudaStream, std::int64_t, const Window&, const float*, const T*, T*,     \
                             const Epilogue<const float>&);                                           \
  template void depthwise_dx<T>(CudaStream, std::int64_t, const Window&, const float*, const T*, T*); \
  template std::size_t depthwise_dw_scratch_bytes<T>(CudaStream, std::int64_t, const Window&);        \
  template void depthwise_dw<T>(CudaStream, std::int64_t, const Window&, const T*, const T*, float*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
