// Pooling on the CPU: threads take whole images of a channel.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/common/add_into.h"
#include "kernels/common/parallel.h"
#include "kernels/pool/pool.h"

namespace lacuna::kernels {
namespace {

// The part of a window that lies inside the image: rows [top, bottom), columns [left, right).
struct Patch {
  int top, bottom, left, right;
};

Patch patch_of(const Window& window, int oy, int ox) {
  const int top = oy * window.stride - window.padding;
  const int left = ox * window.stride - window.padding;
  return {std::max(top, 0), std::min(top + window.kernel, window.height), std::max(left, 0),
          std::min(left + window.kernel, window.width)};
}

template <class T>
bool is_nan(T x) {
  return std::isnan(static_cast<acc_t<T>>(x));
}

// Calls f(image, output, patch) for every output; `image` counts images over all channels, `output` over everything.
template <class F>
void for_outputs(std::int64_t channels, const Window& window, F&& f) {
#pragma omp parallel for schedule(static) if (worth_threads(channels * window.batch * window.out_height * window.out_width))
  for (std::int64_t image = 0; image < channels * window.batch; ++image) {
    std::int64_t output = image * window.out_image_size();
    for (int oy = 0; oy < window.out_height; ++oy)
      for (int ox = 0; ox < window.out_width; ++ox) f(image, output++, patch_of(window, oy, ox));
  }
}

}  // namespace

template <class T>
void segment_mean(CpuStream, std::int64_t segments, std::int64_t length, const T* x, T* y) {
#pragma omp parallel for schedule(static) if (worth_threads(segments * length))
  for (std::int64_t s = 0; s < segments; ++s) {
    const T* in = x + s * length;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::int64_t i = 0; i < length; ++i) sum += in[i];
    y[s] = static_cast<T>(sum / static_cast<double>(length));
  }
}

template <class T>
void segment_mean_dx(CpuStream, std::int64_t segments, std::int64_t length, const T* dy, T* dx) {
  const acc_t<T> scale = acc_t<T>(1) / static_cast<acc_t<T>>(length);
#pragma omp parallel for schedule(static) if (worth_threads(segments * length))
  for (std::int64_t s = 0; s < segments; ++s) std::fill_n(dx + s * length, length, static_cast<T>(dy[s] * scale));
}

template <class T>
void avg_pool(CpuStream, std::int64_t channels, const Window& window, const T* x, T* y) {
  const acc_t<T> scale = acc_t<T>(1) / static_cast<acc_t<T>>(window.taps());
  for_outputs(channels, window, [&](std::int64_t image, std::int64_t output, const Patch& patch) {
    const T* in = x + image * window.image_size();
    acc_t<T> sum = 0;
    for (int iy = patch.top; iy < patch.bottom; ++iy)
      for (int ix = patch.left; ix < patch.right; ++ix) sum += in[std::int64_t{iy} * window.width + ix];
    y[output] = static_cast<T>(sum * scale);
  });
}

template <class T>
void avg_pool_dx(CpuStream, std::int64_t channels, const Window& window, const T* dy, T* dx) {
  const acc_t<T> scale = acc_t<T>(1) / static_cast<acc_t<T>>(window.taps());
  add_into(dx, channels * window.size(), [&](acc_t<T>* sums) {
    for_outputs(channels, window, [&](std::int64_t image, std::int64_t output, const Patch& patch) {
      acc_t<T>* out = sums + image * window.image_size();
      const acc_t<T> share = dy[output] * scale;
      for (int iy = patch.top; iy < patch.bottom; ++iy)
        for (int ix = patch.left; ix < patch.right; ++ix) out[std::int64_t{iy} * window.width + ix] += share;
    });
  });
}

template <class T>
void max_pool(CpuStream, std::int64_t channels, const Window& window, const T* x, T* y, std::int32_t* chosen) {
  for_outputs(channels, window, [&](std::int64_t image, std::int64_t output, const Patch& patch) {
    const T* in = x + image * window.image_size();
    std::int64_t best = std::int64_t{patch.top} * window.width + patch.left;
    for (int iy = patch.top; iy < patch.bottom; ++iy) {
      for (int ix = patch.left; ix < patch.right; ++ix) {
        const std::int64_t pixel = std::int64_t{iy} * window.width + ix;
        if (in[pixel] > in[best] || (is_nan(in[pixel]) && !is_nan(in[best]))) best = pixel;
      }
    }
    y[output] = in[best];
    if (chosen != nullptr) chosen[output] = static_cast<std::int32_t>(best);
  });
}

template <class T>
void max_pool_dx(CpuStream, std::int64_t channels, const Window& window, const T* dy, const std::int32_t* chosen, T* dx) {
  add_into(dx, channels * window.size(), [&](acc_t<T>* sums) {
    for_outputs(channels, window, [&](std::int64_t image, std::int64_t output, const Patch&) {
      sums[image * window.image_size() + chosen[output]] += dy[output];
    });
  });
}

#define LACUNA_INSTANTIATE(T)                                                                                     \
  template void segment_mean<T>(CpuStream, std::int64_t, std::int64_t, const T*, T*);                             \
  template void segment_mean_dx<T>(CpuStream, std::int64_t, std::int64_t, const T*, T*);                          \
  template void avg_pool<T>(CpuStream, std::int64_t, const Window&, const T*, T*);                                \
  template void avg_pool_dx<T>(CpuStream, std::int64_t, const Window&, const T*, T*);                             \
  template void max_pool<T>(CpuStream, std::int64_t, const Window&, const T*, T*, std::int32_t*);                 \
  template void max_pool_dx<T>(CpuStream, std::int64_t, const Window&, const T*, const std::int32_t*, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
