// Unfold and fold on CUDA. A thread owns one position (output pixel of unfold, input pixel of fold) of one channel, finds
// its image and coordinates once and walks the k x k taps; neighbouring threads own neighbouring positions, whatever
// the image size, so that small images still fill warps.
#include <type_traits>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/unfold/unfold.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

struct Position {
  int image, y, x;
};

__device__ __forceinline__ Position position_of(unsigned index, int height, int width) {
  const unsigned line = index / static_cast<unsigned>(width);
  return {static_cast<int>(line / static_cast<unsigned>(height)), static_cast<int>(line % static_cast<unsigned>(height)),
          static_cast<int>(index % static_cast<unsigned>(width))};
}

// kKernel, kStride: known at compile time, or 0 to take the window's.
template <int kKernel, int kStride, class T>
__global__ void __launch_bounds__(kThreads)
    unfold_kernel(Dense<const T> images, Window window, unsigned blocks_per_channel, Dense<T> columns) {
  const int kernel = kKernel > 0 ? kKernel : window.kernel;
  const int stride = kStride > 0 ? kStride : window.stride;
  const std::int64_t channel = blockIdx.x / blocks_per_channel;
  const unsigned index = blockIdx.x % blocks_per_channel * kThreads + threadIdx.x;
  wait_for_previous();
  if (index >= window.out_size()) return;
  const Position out = position_of(index, window.out_height, window.out_width);
  const int top = out.y * stride - window.padding;
  const int left = out.x * stride - window.padding;
  const T* __restrict__ in = images.data + channel * images.ld + out.image * window.image_size();
  T* __restrict__ target = columns.data + channel * window.taps() * columns.ld + index;
#pragma unroll(kKernel > 0 ? kKernel : 1)
  for (int ky = 0; ky < kernel; ++ky) {
    const int y = top + ky;
    const bool row_inside = y >= 0 && y < window.height;
#pragma unroll(kKernel > 0 ? kKernel : 1)
    for (int kx = 0; kx < kernel; ++kx) {
      const int x = left + kx;
      const bool inside = row_inside && x >= 0 && x < window.width;
      target[(ky * kernel + kx) * columns.ld] = inside ? in[y * window.width + x] : T(0);
    }
  }
}

template <int kKernel, int kStride, class T>
__global__ void __launch_bounds__(kThreads)
    fold_kernel(Dense<const T> columns, Window window, unsigned blocks_per_channel, Dense<T> images) {
  const int kernel = kKernel > 0 ? kKernel : window.kernel;
  const int stride = kStride > 0 ? kStride : window.stride;
  const std::int64_t channel = blockIdx.x / blocks_per_channel;
  const unsigned index = blockIdx.x % blocks_per_channel * kThreads + threadIdx.x;
  if (index >= window.size()) return;
  const Position in = position_of(index, window.height, window.width);
  const T* __restrict__ source =
      columns.data + channel * window.taps() * columns.ld + in.image * window.out_image_size();
  float sum = 0;
#pragma unroll(kKernel > 0 ? kKernel : 1)
  for (int ky = 0; ky < kernel; ++ky) {
    const int y = in.y + window.padding - ky;  // stride times the output row that reads this pixel through tap ky
    const bool row_hits = y >= 0 && y % stride == 0 && y / stride < window.out_height;
#pragma unroll(kKernel > 0 ? kKernel : 1)
    for (int kx = 0; kx < kernel; ++kx) {
      const int x = in.x + window.padding - kx;
      if (row_hits && x >= 0 && x % stride == 0 && x / stride < window.out_width)
        sum += source[(ky * kernel + kx) * columns.ld + (y / stride) * window.out_width + x / stride];
    }
  }
  images.data[channel * images.ld + index] = static_cast<T>(sum);
}

// Calls launch(kernel, stride) with the compile-time sizes that fit the window.
template <class F>
void with_window(const Window& window, F&& launch) {
  using std::integral_constant;
  if (window.kernel == 3 && window.stride == 1) return launch(integral_constant<int, 3>{}, integral_constant<int, 1>{});
  if (window.kernel == 3 && window.stride == 2) return launch(integral_constant<int, 3>{}, integral_constant<int, 2>{});
  launch(integral_constant<int, 0>{}, integral_constant<int, 0>{});
}

unsigned blocks_for(std::int64_t positions) { return static_cast<unsigned>((positions + kThreads - 1) / kThreads); }

}  // namespace

template <class T>
void unfold(CudaStream stream, const Dense<const T>& images, const Window& window, const Dense<T>& columns) {
  const unsigned blocks = blocks_for(window.out_size());
  if (blocks == 0 || images.rows == 0) return;
  with_window(window, [&](auto kernel, auto stride) {
    launch_early(stream, unfold_kernel<decltype(kernel)::value, decltype(stride)::value, T>,
                 static_cast<unsigned>(images.rows * blocks), kThreads, 0, 1, images, window, blocks, columns);
  });
}

template <class T>
void fold(CudaStream stream, const Dense<const T>& columns, const Window& window, const Dense<T>& images) {
  const unsigned blocks = blocks_for(window.size());
  if (blocks == 0 || images.rows == 0) return;
  with_window(window, [&](auto kernel, auto stride) {
    fold_kernel<decltype(kernel)::value, decltype(stride)::value>
        <<<static_cast<unsigned>(images.rows * blocks), kThreads, 0, (cudaStream_t)stream.handle>>>(columns, window, blocks,
                                                                                                 images);
  });
  LACUNA_CUDA_LAUNCHED("fold");
}

#define LACUNA_INSTANTIATE(T)                                                                 \
  template void unfold<T>(CudaStream, const Dense<const T>&, const Window&, const Dense<T>&); \
  template void fold<T>(CudaStream, const Dense<const T>&, const Window&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
