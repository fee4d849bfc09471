// 3x3 depthwise convolution with padding 1, where a thread owns kCols neighbouring columns of a few output rows: one
// load brings kCols pixels, and the sums of a thread share what it loads. For widths that kCols divides, so that every
// row begins at a multiple of it.
//   stride 1: output and input have one size     stride 2: the input is twice as high and wide
// Sums run over the taps in order, as in depthwise.cu: the same bits.
#include <cstdint>
#include <type_traits>

#include "kernels/common/chunks.h"
#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/input_row.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/depthwise/depthwise_packs.h"
#include "kernels/depthwise/places.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

// A thread's share of a channel: rows from `y` on and columns from `x` on, of the output.
struct Patch {
  int image, y, x;
};

template <int kRows, int kCols>
__device__ __forceinline__ Patch patch_of(unsigned index, const Window& window) {
  const auto across = static_cast<unsigned>(window.out_width / kCols);
  const auto down = static_cast<unsigned>((window.out_height + kRows - 1) / kRows);
  const unsigned line = index / across;
  return {static_cast<int>(line / down), static_cast<int>(line % down) * kRows,
          static_cast<int>(index - line * across) * kCols};
}

// Patches of a channel.
template <int kRows, int kCols>
std::int64_t num_patches(const Window& window) {
  return std::int64_t{window.batch} * ((window.out_height + kRows - 1) / kRows) * (window.out_width / kCols);
}

// kFlip: with the filter turned by half a turn, which makes the forward pass its own input gradient at stride 1.
template <int kStride, int kRows, int kCols, bool kFlip, bool kRelu, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_packs_kernel(Window window, Places places, const float* __restrict__ w, const T* __restrict__ x,
                           T* __restrict__ y, const float* __restrict__ bias) {
  const Place place = place_of(places);
  const std::int64_t channel = place.channel;
  const Patch patch = patch_of<kRows, kCols>(place.index, window);
  wait_for_previous();
  if (!place.exists) return;
  float filter[9];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) filter[tap] = __ldg(w + channel * 9 + (kFlip ? 8 - tap : tap));
  const T* image = x + channel * window.size() + patch.image * window.image_size();
  float sums[kRows][kCols] = {};
#pragma unroll
  for (int r = 0; r < (kRows - 1) * kStride + 3; ++r) {
    const auto in = load_input_row<kStride, kCols>(image, window, patch.y * kStride - 1 + r, patch.x);
#pragma unroll
    for (int o = 0; o < kRows; ++o) {
      const int ky = r - o * kStride;
      if (ky < 0 || ky > 2) continue;
#pragma unroll
      for (int c = 0; c < kCols; ++c)
#pragma unroll
        for (int kx = 0; kx < 3; ++kx) sums[o][c] += filter[ky * 3 + kx] * in.v[c * kStride + kx];
    }
  }
  T* out = y + channel * window.out_size() + patch.image * window.out_image_size() + patch.x;
  const float shift = bias == nullptr ? 0.0f : __ldg(bias + channel);
#pragma unroll
  for (int o = 0; o < kRows; ++o) {
    if (patch.y + o >= window.out_height) break;
#pragma unroll
    for (int c = 0; c < kCols; ++c) sums[o][c] = kRelu ? relu(sums[o][c] + shift) : sums[o][c] + shift;
    store_pixels<kCols>(out + std::int64_t{patch.y + o} * window.out_width, sums[o]);
  }
}

// Gradient with respect to x at stride 2: a thread takes kRows x kCols outputs (r, q) and writes the four pixels of each
// that they lie between, (2r, 2q) to (2r + 1, 2q + 1). Those read the outputs one to the right and below, too; outside
// of the output they are 0.
template <int kRows, int kCols, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_packs_dx_kernel(Window window, unsigned patches, unsigned blocks_per_channel, const float* __restrict__ w,
                              const T* __restrict__ dy, T* __restrict__ dx) {
  const std::int64_t channel = blockIdx.x / blocks_per_channel;
  const unsigned index = blockIdx.x % blocks_per_channel * kThreads + threadIdx.x;
  if (index >= patches) return;
  const Patch patch = patch_of<kRows, kCols>(index, window);
  float filter[9];
#pragma unroll
  for (int tap = 0; tap < 9; ++tap) filter[tap] = __ldg(w + channel * 9 + tap);
  const T* __restrict__ gradient = dy + channel * window.out_size() + patch.image * window.out_image_size() + patch.x;
  float g[kRows + 1][kCols + 1] = {};
#pragma unroll
  for (int r = 0; r <= kRows; ++r) {
    if (patch.y + r >= window.out_height) break;
    const T* row = gradient + std::int64_t{patch.y + r} * window.out_width;
    load_pixels<kCols>(row, g[r]);
    if (patch.x + kCols < window.out_width) g[r][kCols] = static_cast<float>(row[kCols]);
  }
  T* out = dx + channel * window.size() + patch.image * window.image_size() + patch.x * 2;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (patch.y + r >= window.out_height) break;
    float even[2 * kCols], odd[2 * kCols];  // rows 2 (y + r) and the one below
#pragma unroll
    for (int q = 0; q < kCols; ++q) {
      const float here = g[r][q], right = g[r][q + 1], below = g[r + 1][q], across = g[r + 1][q + 1];
      even[2 * q] = filter[4] * here;
      even[2 * q + 1] = filter[3] * right + filter[5] * here;
      odd[2 * q] = filter[1] * below + filter[7] * here;
      odd[2 * q + 1] = filter[0] * across + filter[2] * below + filter[6] * right + filter[8] * here;
    }
    T* line = out + std::int64_t{patch.y + r} * 2 * window.width;
    store_pixels<2 * kCols>(line, even);
    store_pixels<2 * kCols>(line + window.width, odd);
  }
}

// Stage one of dw: a block per (channel, chunk of patches), nine sums per thread. partials is [c * 9, chunks].
template <int kStride, int kRows, int kCols, class T>
__global__ void __launch_bounds__(kThreads)
    depthwise_packs_dw_kernel(Window window, unsigned patches, Chunks chunks, const T* __restrict__ x,
                              const T* __restrict__ dy, float* __restrict__ partials) {
  __shared__ float shared[9 * kWarp];
  const std::int64_t channel = blockIdx.x / chunks.count;
  const std::int64_t piece = blockIdx.x % chunks.count;
  const auto end = static_cast<unsigned>(min((piece + 1) * chunks.size, std::int64_t{patches}));
  float sums[9] = {};
  for (unsigned index = static_cast<unsigned>(piece * chunks.size) + threadIdx.x; index < end; index += kThreads) {
    const Patch patch = patch_of<kRows, kCols>(index, window);
    const T* image = x + channel * window.size() + patch.image * window.image_size();
    const T* __restrict__ out = dy + channel * window.out_size() + patch.image * window.out_image_size() + patch.x;
    float gradient[kRows][kCols] = {};
#pragma unroll
    for (int o = 0; o < kRows; ++o)
      if (patch.y + o < window.out_height)
        load_pixels<kCols>(out + std::int64_t{patch.y + o} * window.out_width, gradient[o]);
#pragma unroll
    for (int r = 0; r < (kRows - 1) * kStride + 3; ++r) {
      const auto in = load_input_row<kStride, kCols>(image, window, patch.y * kStride - 1 + r, patch.x);
#pragma unroll
      for (int o = 0; o < kRows; ++o) {
        const int ky = r - o * kStride;
        if (ky < 0 || ky > 2 || patch.y + o >= window.out_height) continue;  // no output there: x may hold NaN
#pragma unroll
        for (int c = 0; c < kCols; ++c)
#pragma unroll
          for (int kx = 0; kx < 3; ++kx) sums[ky * 3 + kx] += gradient[o][c] * in.v[c * kStride + kx];
      }
    }
  }
  block_sum(sums, shared);
#pragma unroll
  for (int tap = 0; tap < 9; ++tap)
    if (threadIdx.x == tap) partials[(channel * 9 + tap) * chunks.count + piece] = sums[tap];
}

using std::integral_constant;

bool is_same(const Window& w) { return w.stride == 1 && w.height == w.out_height && w.width == w.out_width; }
bool is_halved(const Window& w) { return w.stride == 2 && w.height == 2 * w.out_height && w.width == 2 * w.out_width; }

// Columns of a thread; 0 where the window is not of this kind.
int columns_of(const Window& window) {
  if (window.kernel != 3 || window.padding != 1 || !(is_same(window) || is_halved(window))) return 0;
  return window.out_width % 4 == 0 ? 4 : window.out_width % 2 == 0 ? 2 : 1;
}

// All packs begin at multiples of their size from the array's begin, and none is larger.
bool aligned(const void* p, const void* q) {
  return (reinterpret_cast<std::uintptr_t>(p) | reinterpret_cast<std::uintptr_t>(q)) % 16 == 0;
}

// Calls launch(rows, columns) of a thread, columns being 2 or 4.
template <class F>
auto with_patches(const Window& window, int columns, F&& launch) {
  const auto with_columns = [&](auto rows) {
    if (columns == 4) return launch(rows, integral_constant<int, 4>{});
    return launch(rows, integral_constant<int, 2>{});
  };
  if (window.out_height >= 4) return with_columns(integral_constant<int, 4>{});
  return with_columns(integral_constant<int, 2>{});
}

// One row a thread where four would leave multiprocessors without work, at batch 1: more loads in all, but fewer in turn.
template <int kStride, class F>
void with_forward_patches(const Window& window, std::int64_t channels, F&& launch) {
  constexpr std::int64_t kFew = 1 << 16;  // threads
  const int columns = columns_of(window);
  if (channels * ((window.out_height + 3) / 4) * window.batch * (window.out_width / columns) >= kFew)
    return with_patches(window, columns, launch);
  if (columns == 4 && kStride == 1) return launch(integral_constant<int, 1>{}, integral_constant<int, 4>{});
  launch(integral_constant<int, 1>{}, integral_constant<int, 2>{});
}

template <int kStride, bool kFlip, bool kRelu, class T>
void launch_forward(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* x, T* y,
                    const float* bias) {
  with_forward_patches<kStride>(window, channels, [&](auto rows, auto columns) {
    constexpr int kRows = decltype(rows)::value, kCols = decltype(columns)::value;
    const PlacesLaunch share = share_places(channels, num_patches<kRows, kCols>(window), kThreads);
    launch_early(stream, depthwise_packs_kernel<kStride, kRows, kCols, kFlip, kRelu, T>, share.blocks, share.threads, 0,
                 1, window, share.places, w, x, y, bias);
  });
}

template <class F>
auto with_dw_patches(const Window& window, F&& launch) {
  return with_patches(window, columns_of(window), [&](auto rows, auto columns) {
    return launch(rows, columns, num_patches<decltype(rows)::value, decltype(columns)::value>(window));
  });
}

Chunks dw_chunks(CudaStream stream, std::int64_t channels, std::int64_t patches) {
  return plan_chunks(channels, patches, stream.multiprocessors, kThreads);
}

}  // namespace

template <class T>
bool depthwise_packs(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* x, T* y,
                     const float* bias, bool relu, bool flip) {
  if (columns_of(window) < 2 || !aligned(x, y)) return false;
  if (flip) {
    if (relu || window.stride != 1) return false;
    launch_forward<1, true, false>(stream, channels, window, w, x, y, bias);
  } else if (window.stride == 1) {
    const auto launch = relu ? launch_forward<1, false, true, T> : launch_forward<1, false, false, T>;
    launch(stream, channels, window, w, x, y, bias);
  } else {
    const auto launch = relu ? launch_forward<2, false, true, T> : launch_forward<2, false, false, T>;
    launch(stream, channels, window, w, x, y, bias);
  }
  return true;
}

template <class T>
bool depthwise_packs_dx(CudaStream stream, std::int64_t channels, const Window& window, const float* w, const T* dy,
                        T* dx) {
  const int columns = columns_of(window);
  if (columns == 0 || window.stride != 2 || !aligned(dy, dx)) return false;
  const auto launch = [&](auto cols) {
    constexpr int kRows = 2, kCols = decltype(cols)::value;
    const std::int64_t patches = num_patches<kRows, kCols>(window);
    const auto blocks = static_cast<unsigned>((patches + kThreads - 1) / kThreads);
    depthwise_packs_dx_kernel<kRows, kCols>
        <<<static_cast<unsigned>(channels * blocks), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
            window, static_cast<unsigned>(patches), blocks, w, dy, dx);
  };
  if (columns == 4)
    launch(integral_constant<int, 4>{});
  else if (columns == 2)
    launch(integral_constant<int, 2>{});
  else
    launch(integral_constant<int, 1>{});
  LACUNA_CUDA_LAUNCHED("depthwise_packs_dx");
  return true;
}

std::int64_t depthwise_packs_dw_count(CudaStream stream, std::int64_t channels, const Window& window) {
  if (columns_of(window) < 2) return 0;
  return with_dw_patches(window,
                         [&](auto, auto, std::int64_t patches) { return dw_chunks(stream, channels, patches).count; });
}

template <class T>
bool depthwise_packs_dw(CudaStream stream, std::int64_t channels, const Window& window, const T* x, const T* dy,
                        float* partials) {
  if (columns_of(window) < 2 || !aligned(x, dy)) return false;
  with_dw_patches(window, [&](auto rows, auto columns, std::int64_t patches) {
    constexpr int kRows = decltype(rows)::value, kCols = decltype(columns)::value;
    const Chunks chunks = dw_chunks(stream, channels, patches);
    const auto kernel = window.stride == 1 ? depthwise_packs_dw_kernel<1, kRows, kCols, T>
                                           : depthwise_packs_dw_kernel<2, kRows, kCols, T>;
    kernel<<<static_cast<unsigned>(channels * chunks.count), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
        window, static_cast<unsigned>(patches), chunks, x, dy, partials);
  });
  LACUNA_CUDA_LAUNCHED("depthwise_packs_dw");
  return true;
}

#define LACUNA_INSTANTIATE(T)                                                                                         \
  template bool depthwise_packs<T>(CudaStream, std::int64_t, const Window&, const float*, const T*, T*, const float*, \
                                   bool, bool);                                                                       \
  template bool depthwise_packs_dx<T>(CudaStream, std::int64_t, const Window&, const float*, const T*, T*);           \
  template bool depthwise_packs_dw<T>(CudaStream, std::int64_t, const Window&, const T*, const T*, float*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
