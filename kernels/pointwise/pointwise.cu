#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/quad.cuh"
#include "kernels/pointwise/activation.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

/// Blocks for `items` units of work, one per thread, capped: kernels stride over the rest.
int blocks_for(std::int64_t items, const CudaStream& stream) {
  const std::int64_t wanted = (items + kThreads - 1) / kThreads;
  const std::int64_t most = 16ll * std::max(stream.multiprocessors, 1);
  return static_cast<int>(std::max<std::int64_t>(1, std::min(wanted, most)));
}

/// out[i] = f(a[i], b[i]) in f32; a, b and out may be one array. With vectorised, all three are aligned to four elements:
/// four a thread and step, and the last n % 4 elements one by one.
template <bool vectorised, class T, class F>
__global__ void __launch_bounds__(kThreads) map_kernel(F f, const T* a, const T* b, T* out, std::int64_t n) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  if constexpr (vectorised) {
    const std::int64_t quads = n / 4;
    for (std::int64_t q = first; q < quads; q += stride) {
      const float4 x = load_quad(a + 4 * q);
      const float4 y = load_quad(b + 4 * q);
      store_quad(out + 4 * q, make_float4(f(x.x, y.x), f(x.y, y.y), f(x.z, y.z), f(x.w, y.w)));
    }
    const std::int64_t tail = quads * 4 + first;
    if (tail < n) out[tail] = static_cast<T>(f(a[tail], b[tail]));
  } else {
    for (std::int64_t i = first; i < n; i += stride) out[i] = static_cast<T>(f(a[i], b[i]));
  }
}

/// Unary functions pass a twice: the second load hits the same line.
template <class T, class F>
void map(const CudaStream& stream, const T* a, const T* b, T* out, std::int64_t n, F f) {
  if (n == 0) return;
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  if (quad_aligned(a) && quad_aligned(b) && quad_aligned(out)) {
    map_kernel<true><<<blocks_for((n + 3) / 4, stream), kThreads, 0, handle>>>(f, a, b, out, n);
  } else {
    map_kernel<false><<<blocks_for(n, stream), kThreads, 0, handle>>>(f, a, b, out, n);
  }
  LACUNA_CUDA_LAUNCHED("map");
}

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Sub {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Mul {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Scale {
  float factor;
  __device__ float operator()(float a, float) const { return factor * a; }
};
template <Activation kind>
struct Activate {
  __device__ float operator()(float x, float) const { return activate(kind, x); }
};
template <Activation kind>
struct ActivateGradient {
  __device__ float operator()(float saved, float dy) const { return activate_gradient(kind, saved, dy); }
};

/// y = activation(x + bias[row]). A block walks a stretch of one row, so the bias is read once per block.
/// blockIdx.x = row * stretches + stretch.
template <bool vectorised, Activation kind, class T>
__global__ void __launch_bounds__(kThreads)
    epilogue_kernel(Dense<const T> x, const float* bias, Dense<T> y, std::int64_t stretches) {
  const std::int64_t row = blockIdx.x / stretches, stretch = blockIdx.x % stretches;
  wait_for_previous();
  const float shift = bias == nullptr ? 0.0f : bias[row];
  const std::int64_t first = stretch * kThreads + threadIdx.x, stride = stretches * kThreads;
  const T* from = x.data + row * x.ld;
  T* to = y.data + row * y.ld;
  if constexpr (vectorised) {
    for (std::int64_t q = first; q < x.cols / 4; q += stride) {
      const float4 v = load_quad(from + 4 * q);
      store_quad(to + 4 * q, make_float4(activate(kind, v.x + shift), activate(kind, v.y + shift),
                                         activate(kind, v.z + shift), activate(kind, v.w + shift)));
    }
  } else {
    for (std::int64_t j = first; j < x.cols; j += stride) to[j] = static_cast<T>(activate(kind, from[j] + shift));
  }
}

template <Activation kind, class T>
void launch_epilogue(const CudaStream& stream, const Dense<const T>& x, const float* bias, const Dense<T>& y) {
  const bool vectorised =
      x.cols % 4 == 0 && x.ld % 4 == 0 && y.ld % 4 == 0 && quad_aligned(x.data) && quad_aligned(y.data);
  const std::int64_t items = vectorised ? x.cols / 4 : x.cols;
  // Two steps a thread, and no more than 64 blocks a row: m * 64 stays a legal grid for any m < 2^25.
  const std::int64_t most = x.rows < (1 << 25) ? 64 : 1;
  const std::int64_t stretches = std::clamp<std::int64_t>((items + 2 * kThreads - 1) / (2 * kThreads), 1, most);
  const auto blocks = static_cast<unsigned>(x.rows * stretches);
  const auto kernel = vectorised ? epilogue_kernel<true, kind, T> : epilogue_kernel<false, kind, T>;
  launch_early(stream, kernel, blocks, kThreads, 0, 1, x, bias, y, stretches);
}

}  // namespace

template <class T>
void binary(CudaStream stream, Binary op, const T* a, const T* b, T* out, std::int64_t n) {
  switch (op) {
    case Binary::add:
      return map(stream, a, b, out, n, Add{});
    case Binary::sub:
      return map(stream, a, b, out, n, Sub{});
    case Binary::mul:
      return map(stream, a, b, out, n, Mul{});
  }
}

template <class T>
void scale(CudaStream stream, const T* a, double factor, T* out, std::int64_t n) {
  map(stream, a, a, out, n, Scale{static_cast<float>(factor)});
}

template <class T>
void activation(CudaStream stream, Activation kind, const T* x, T* y, std::int64_t n) {
  switch (kind) {
    case Activation::none:
      return map(stream, x, x, y, n, Activate<Activation::none>{});
    case Activation::relu:
      return map(stream, x, x, y, n, Activate<Activation::relu>{});
    case Activation::gelu:
      return map(stream, x, x, y, n, Activate<Activation::gelu>{});
  }
}

template <class T>
void activation_gradient(CudaStream stream, Activation kind, const T* saved, const T* dy, T* dx, std::int64_t n) {
  switch (kind) {
    case Activation::none:
      return map(stream, saved, dy, dx, n, ActivateGradient<Activation::none>{});
    case Activation::relu:
      return map(stream, saved, dy, dx, n, ActivateGradient<Activation::relu>{});
    case Activation::gelu:
      return map(stream, saved, dy, dx, n, ActivateGradient<Activation::gelu>{});
  }
}

template <class T>
void apply_epilogue(CudaStream stream, const Dense<const T>& x, const Epilogue<const acc_t<T>>& epilogue,
                    const Dense<T>& y) {
  if (x.rows == 0 || x.cols == 0) return;
  switch (epilogue.activation) {
    case Activation::none:
      return launch_epilogue<Activation::none>(stream, x, epilogue.bias, y);
    case Activation::relu:
      return launch_epilogue<Activation::relu>(stream, x, epilogue.bias, y);
    case Activation::gelu:
      return launch_epilogue<Activation::gelu>(stream, x, epilogue.bias, y);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                         \
  template void binary<T>(CudaStream, Binary, const T*, const T*, T*, std::int64_t);                  \
  template void scale<T>(CudaStream, const T*, double, T*, std::int64_t);                             \
  template void activation<T>(CudaStream, Activation, const T*, T*, std::int64_t);                    \
  template void activation_gradient<T>(CudaStream, Activation, const T*, const T*, T*, std::int64_t); \
  template void apply_epilogue<T>(CudaStream, const Dense<const T>&, const Epilogue<const acc_t<T>>&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
