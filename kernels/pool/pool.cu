// Pooling on CUDA. Gradients are gathers: a thread per input pixel looks at the windows that cover it, so nothing is added
// atomically.
#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/pool/pool.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

// `lanes` neighbouring threads (a power of two, at most a warp) share a segment.
template <class T>
__global__ void __launch_bounds__(kThreads) segment_mean_kernel(std::int64_t segments, std::int64_t length, int lanes,
                                                                const T* __restrict__ x, T* __restrict__ y) {
  const std::int64_t segment = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / lanes;
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  wait_for_previous();
  float sum = 0;
  if (segment < segments)  // no early return: the shuffles below take whole warps
    for (std::int64_t i = lane; i < length; i += lanes) sum += x[segment * length + i];
  for (int offset = lanes / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (segment < segments && lane == 0) y[segment] = static_cast<T>(sum / static_cast<float>(length));
}

template <class T>
__global__ void __launch_bounds__(kThreads) segment_mean_dx_kernel(std::int64_t count, unsigned length, float scale,
                                                                   const T* __restrict__ dy, T* __restrict__ dx) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index < count) dx[index] = static_cast<T>(dy[index / length] * scale);
}

struct Pixel {
  std::int64_t image;  // counted over all channels
  int y, x;
};

__device__ __forceinline__ Pixel pixel_of(std::int64_t index, int height, int width) {
  const std::int64_t line = index / width;
  return {line / height, static_cast<int>(line % height), static_cast<int>(index % width)};
}

// The part of an output's window that lies inside the image.
struct Patch {
  int top, bottom, left, right;
};

__device__ __forceinline__ Patch patch_of(const Window& window, int oy, int ox) {
  const int top = oy * window.stride - window.padding;
  const int left = ox * window.stride - window.padding;
  return {max(top, 0), min(top + window.kernel, window.height), max(left, 0), min(left + window.kernel, window.width)};
}

// The outputs whose windows cover position `at` of one axis: [begin, end).
struct Covering {
  int begin, end;
};

__device__ __forceinline__ Covering covering(const Window& window, int at, int out_extent) {
  const int shifted = at + window.padding;
  const int first = shifted - window.kernel + 1;  // least oy * stride
  return {first > 0 ? (first + window.stride - 1) / window.stride : 0, min(shifted / window.stride + 1, out_extent)};
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    avg_pool_kernel(std::int64_t count, Window window, const T* __restrict__ x, T* __restrict__ y) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  const Pixel out = pixel_of(index, window.out_height, window.out_width);
  const Patch patch = patch_of(window, out.y, out.x);
  const T* in = x + out.image * window.image_size();
  float sum = 0;
  for (int iy = patch.top; iy < patch.bottom; ++iy)
    for (int ix = patch.left; ix < patch.right; ++ix) sum += in[iy * window.width + ix];
  y[index] = static_cast<T>(sum / static_cast<float>(window.taps()));
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    avg_pool_dx_kernel(std::int64_t count, Window window, const T* __restrict__ dy, T* __restrict__ dx) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  const Pixel in = pixel_of(index, window.height, window.width);
  const Covering rows = covering(window, in.y, window.out_height);
  const Covering cols = covering(window, in.x, window.out_width);
  const T* gradient = dy + in.image * window.out_image_size();
  float sum = 0;
  for (int oy = rows.begin; oy < rows.end; ++oy)
    for (int ox = cols.begin; ox < cols.end; ++ox) sum += gradient[oy * window.out_width + ox];
  dx[index] = static_cast<T>(sum / static_cast<float>(window.taps()));
}

template <class T>
__global__ void __launch_bounds__(kThreads) max_pool_kernel(std::int64_t count, Window window, const T* __restrict__ x,
                                                            T* __restrict__ y, std::int32_t* __restrict__ chosen) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  const Pixel out = pixel_of(index, window.out_height, window.out_width);
  const Patch patch = patch_of(window, out.y, out.x);
  const T* in = x + out.image * window.image_size();
  int best = patch.top * window.width + patch.left;
  float largest = in[best];
  for (int iy = patch.top; iy < patch.bottom; ++iy) {
    for (int ix = patch.left; ix < patch.right; ++ix) {
      const float value = in[iy * window.width + ix];
      if (value > largest || (isnan(value) && !isnan(largest))) {
        largest = value;
        best = iy * window.width + ix;
      }
    }
  }
  y[index] = static_cast<T>(largest);
  if (chosen != nullptr) chosen[index] = best;
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    max_pool_dx_kernel(std::int64_t count, Window window, const T* __restrict__ dy,
                       const std::int32_t* __restrict__ chosen, T* __restrict__ dx) {
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= count) return;
  const Pixel in = pixel_of(index, window.height, window.width);
  const int pixel = in.y * window.width + in.x;
  const Covering rows = covering(window, in.y, window.out_height);
  const Covering cols = covering(window, in.x, window.out_width);
  const std::int64_t base = in.image * window.out_image_size();
  float sum = 0;
  for (int oy = rows.begin; oy < rows.end; ++oy) {
    for (int ox = cols.begin; ox < cols.end; ++ox) {
      const std::int64_t output = base + oy * window.out_width + ox;
      if (chosen[output] == pixel) sum += dy[output];
    }
  }
  dx[index] = static_cast<T>(sum);
}

unsigned blocks_for(std::int64_t count) { return static_cast<unsigned>((count + kThreads - 1) / kThreads); }

}  // namespace

template <class T>
void segment_mean(CudaStream stream, std::int64_t segments, std::int64_t length, const T* x, T* y) {
  if (segments == 0) return;
  int lanes = 1;
  while (lanes < kWarp && lanes < length) lanes *= 2;
  launch_early(stream, segment_mean_kernel<T>, blocks_for(segments * lanes), kThreads, 0, 1, segments, length, lanes, x,
               y);
}

template <class T>
void segment_mean_dx(CudaStream stream, std::int64_t segments, std::int64_t length, const T* dy, T* dx) {
  const std::int64_t count = segments * length;
  if (count == 0) return;
  segment_mean_dx_kernel<<<blocks_for(count), kThreads, 0, (cudaStream_t)stream.handle>>>(
      count, static_cast<unsigned>(length), 1.0f / static_cast<float>(length), dy, dx);
  LACUNA_CUDA_LAUNCHED("segment_mean_dx");
}

template <class T>
void avg_pool(CudaStream stream, std::int64_t channels, const Window& window, const T* x, T* y) {
  const std::int64_t count = channels * window.out_size();
  if (count == 0) return;
  avg_pool_kernel<<<blocks_for(count), kThreads, 0, (cudaStream_t)stream.handle>>>(count, window, x, y);
  LACUNA_CUDA_LAUNCHED("avg_pool");
}

template <class T>
void avg_pool_dx(CudaStream stream, std::int64_t channels, const Window& window, const T* dy, T* dx) {
  const std::int64_t count = channels * window.size();
  if (count == 0) return;
  avg_pool_dx_kernel<<<blocks_for(count), kThreads, 0, (cudaStream_t)stream.handle>>>(count, window, dy, dx);
  LACUNA_CUDA_LAUNCHED("avg_pool_dx");
}

template <class T>
void max_pool(CudaStream stream, std::int64_t channels, const Window& window, const T* x, T* y, std::int32_t* chosen) {
  const std::int64_t count = channels * window.out_size();
  if (count == 0) return;
  max_pool_kernel<<<blocks_for(count), kThreads, 0, (cudaStream_t)stream.handle>>>(count, window, x, y, chosen);
  LACUNA_CUDA_LAUNCHED("max_pool");
}

template <class T>
void max_pool_dx(CudaStream stream, std::int64_t channels, const Window& window, const T* dy,
                 const std::int32_t* chosen, T* dx) {
  const std::int64_t count = channels * window.size();
  if (count == 0) return;
  max_pool_dx_kernel<<<blocks_for(count), kThreads, 0, (cudaStream_t)stream.handle>>>(count, window, dy, chosen, dx);
  LACUNA_CUDA_LAUNCHED("max_pool_dx");
}

#define LACUNA_INSTANTIATE(T)                                                                      \
  template void segment_mean<T>(CudaStream, std::int64_t, std::int64_t, const T*, T*);             \
  template void segment_mean_dx<T>(CudaStream, std::int64_t, std::int64_t, const T*, T*);          \
  template void avg_pool<T>(CudaStream, std::int64_t, const Window&, const T*, T*);                \
  template void avg_pool_dx<T>(CudaStream, std::int64_t, const Window&, const T*, T*);             \
  template void max_pool<T>(CudaStream, std::int64_t, const Window&, const T*, T*, std::int32_t*); \
  template void max_pool_dx<T>(CudaStream, std::int64_t, const Window&, const T*, const std::int32_t*, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
