// Unfold and fold on the CPU. Unfold: a thread per row of the columns. Fold: a thread per channel, which alone adds into it.
#include <algorithm>
#include <cstdint>

#include "kernels/common/add_into.h"
#include "kernels/common/parallel.h"
#include "kernels/unfold/unfold.h"

namespace lacuna::kernels {

template <class T>
void unfold(CpuStream, const Dense<const T>& images, const Window& window, const Dense<T>& columns) {
  const int k = window.kernel;
#pragma omp parallel for schedule(static) if (worth_threads(columns.rows * columns.cols))
  for (std::int64_t row = 0; row < columns.rows; ++row) {
    const T* in = images.data + row / window.taps() * images.ld;
    const int ky = static_cast<int>(row / k % k);
    const int kx = static_cast<int>(row % k);
    const OutputRange valid = outputs_inside(kx, window, window.width, window.out_width);
    T* out = columns.data + row * columns.ld;
    for (int b = 0; b < window.batch; ++b) {
      for (int oy = 0; oy < window.out_height; ++oy, out += window.out_width) {
        const int iy = oy * window.stride + ky - window.padding;
        if (iy < 0 || iy >= window.height || valid.begin >= valid.end) {
          std::fill_n(out, window.out_width, T(0));
          continue;
        }
        // Index of output 0's pixel; may lie before the row, so it stays an index.
        const std::int64_t source = b * window.image_size() + std::int64_t{iy} * window.width + kx - window.padding;
        std::fill(out, out + valid.begin, T(0));
        if (window.stride == 1) {
          std::copy(in + (source + valid.begin), in + (source + valid.end), out + valid.begin);
        } else {
          for (int ox = valid.begin; ox < valid.end; ++ox) out[ox] = in[source + std::int64_t{ox} * window.stride];
        }
        std::fill(out + valid.end, out + window.out_width, T(0));
      }
    }
  }
}

template <class T>
void fold(CpuStream, const Dense<const T>& columns, const Window& window, const Dense<T>& images) {
  const int k = window.kernel;
#pragma omp parallel for schedule(static) if (worth_threads(columns.rows * columns.cols))
  for (std::int64_t channel = 0; channel < images.rows; ++channel) {
    T* out = images.data + channel * images.ld;
    add_into(out, window.size(), [&](acc_t<T>* sums) {
      for (int tap = 0; tap < k * k; ++tap) {
        const int ky = tap / k;
        const int kx = tap % k;
        const OutputRange rows = outputs_inside(ky, window, window.height, window.out_height);
        const OutputRange valid = outputs_inside(kx, window, window.width, window.out_width);
        const T* in = columns.data + (channel * window.taps() + tap) * columns.ld;
        for (int b = 0; b < window.batch; ++b) {
          for (int oy = rows.begin; oy < rows.end; ++oy) {
            const int iy = oy * window.stride + ky - window.padding;
            const T* in_row = in + b * window.out_image_size() + std::int64_t{oy} * window.out_width;
            const std::int64_t target = b * window.image_size() + std::int64_t{iy} * window.width + kx - window.padding;
            for (int ox = valid.begin; ox < valid.end; ++ox)
              sums[target + std::int64_t{ox} * window.stride] += in_row[ox];
          }
        }
      }
    });
  }
}

#define LACUNA_INSTANTIATE(T)                                                                       \
  template void unfold<T>(CpuStream, const Dense<const T>&, const Window&, const Dense<T>&);        \
  template void fold<T>(CpuStream, const Dense<const T>&, const Window&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
