// Depthwise convolution on the CPU: a thread per channel, inner loops along a row of an image.
#include <algorithm>
#include <cstdint>

#include "kernels/common/parallel.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/pointwise/activation.h"

namespace lacuna::kernels {
namespace {

// Calls f(tap, x offset, y offset, begin, end) for every pair of rows that a tap joins: output element y + ox meets
// input element x + ox * stride for ox in [begin, end). The x offset may lie before the row; it is only an index.
template <class F>
void for_row_pairs(const Window& window, F&& f) {
  for (int tap = 0; tap < window.kernel * window.kernel; ++tap) {
    const int ky = tap / window.kernel;
    const int kx = tap % window.kernel;
    const OutputRange rows = outputs_inside(ky, window, window.height, window.out_height);
    const OutputRange cols = outputs_inside(kx, window, window.width, window.out_width);
    if (cols.begin >= cols.end) continue;
    for (int b = 0; b < window.batch; ++b) {
      for (int oy = rows.begin; oy < rows.end; ++oy) {
        const int iy = oy * window.stride + ky - window.padding;
        f(tap, b * window.image_size() + std::int64_t{iy} * window.width + kx - window.padding,
          b * window.out_image_size() + std::int64_t{oy} * window.out_width, cols.begin, cols.end);
      }
    }
  }
}

}  // namespace

template <class T>
void depthwise(CpuStream, std::int64_t channels, const Window& window, const T* w, const T* x, T* y,
               const Epilogue<const T>& epilogue) {
  const std::int64_t stride = window.stride;
#pragma omp parallel for schedule(static) if (worth_threads(channels * window.batch * window.out_height * window.out_width))
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const T* filter = w + channel * window.taps();
    const T* in = x + channel * window.size();
    T* out = y + channel * window.out_size();
    std::fill_n(out, window.out_size(), T(0));
    for_row_pairs(window, [&](int tap, std::int64_t xi, std::int64_t yi, std::int64_t begin, std::int64_t end) {
      const T weight = filter[tap];
      if (stride == 1) {
        for (std::int64_t ox = begin; ox < end; ++ox) out[yi + ox] += weight * in[xi + ox];
      } else {
        for (std::int64_t ox = begin; ox < end; ++ox) out[yi + ox] += weight * in[xi + ox * stride];
      }
    });
    // While the channel is in cache.
    const T shift = epilogue.bias == nullptr ? T(0) : epilogue.bias[channel];
    if (epilogue.activation == Activation::relu) {
      for (std::int64_t i = 0; i < window.out_size(); ++i) out[i] = relu(out[i] + shift);
    } else if (epilogue.activation != Activation::none || epilogue.bias != nullptr) {
      for (std::int64_t i = 0; i < window.out_size(); ++i) out[i] = activate(epilogue.activation, out[i] + shift);
    }
  }
}

template <class T>
void depthwise_dx(CpuStream, std::int64_t channels, const Window& window, const T* w, const T* dy, T* dx) {
  const std::int64_t stride = window.stride;
#pragma omp parallel for schedule(static) if (worth_threads(channels * window.batch * window.out_height * window.out_width))
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const T* filter = w + channel * window.taps();
    const T* gradient = dy + channel * window.out_size();
    T* out = dx + channel * window.size();
    std::fill_n(out, window.size(), T(0));
    for_row_pairs(window, [&](int tap, std::int64_t xi, std::int64_t yi, std::int64_t begin, std::int64_t end) {
      const T weight = filter[tap];
      if (stride == 1) {
        for (std::int64_t ox = begin; ox < end; ++ox) out[xi + ox] += weight * gradient[yi + ox];
      } else {
        for (std::int64_t ox = begin; ox < end; ++ox) out[xi + ox * stride] += weight * gradient[yi + ox];
      }
    });
  }
}

template <class T>
std::size_t depthwise_dw_scratch_bytes(CpuStream, std::int64_t, const Window&) {
  return 0;
}

template <class T>
void depthwise_dw(CpuStream, std::int64_t channels, const Window& window, const T* x, const T* dy, T* dw, void*) {
  const std::int64_t stride = window.stride;
#pragma omp parallel for schedule(static) if (worth_threads(channels * window.batch * window.out_height * window.out_width))
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    const T* in = x + channel * window.size();
    const T* gradient = dy + channel * window.out_size();
    T* out = dw + channel * window.taps();
    std::fill_n(out, window.taps(), T(0));
    double sum = 0;  // of the tap at hand: pairs come tap by tap
    int current = 0;
    for_row_pairs(window, [&](int tap, std::int64_t xi, std::int64_t yi, std::int64_t begin, std::int64_t end) {
      if (tap != current) {
        out[current] = static_cast<T>(sum);
        sum = 0;
        current = tap;
      }
      double row = 0;
#pragma omp simd reduction(+ : row)
      for (std::int64_t ox = begin; ox < end; ++ox) row += in[xi + ox * stride] * gradient[yi + ox];
      sum += row;
    });
    if (window.taps() > 0) out[current] = static_cast<T>(sum);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                 \
  template void depthwise<T>(CpuStream, std::int64_t, const Window&, const T*, const T*, T*,                  \
                             const Epilogue<const T>&);                                                       \
  template void depthwise_dx<T>(CpuStream, std::int64_t, const Window&, const T*, const T*, T*);              \
  template std::size_t depthwise_dw_scratch_bytes<T>(CpuStream, std::int64_t, const Window&);                 \
  template void depthwise_dw<T>(CpuStream, std::int64_t, const Window&, const T*, const T*, T*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
