// On the CPU: one thread per channel, sums in double and in the order of kernels/batch_norm, so that the results are
// those of the separate ops, bit for bit.
#include <bit>
#include <cstdint>

#include "kernels/batch_norm_relu/batch_norm_relu.h"
#include "kernels/common/parallel.h"
#include "kernels/pointwise/activation.h"

namespace lacuna::kernels {
namespace {

// One channel's numbers, and its output before the ReLU: the one expression that forward and backward share.
template <class A>
struct Channel {
  A mean, invstd, scale, shift;

  template <class T>
  Channel(const ChannelNorm<T>& norm, std::int64_t c)
      : mean(norm.mean[c]), invstd(norm.invstd[c]), scale(norm.gain[c] * norm.invstd[c]), shift(norm.bias[c]) {}
  A before_relu(A x) const { return (x - mean) * scale + shift; }
  // Where the output is 0, 0, else dy. For f32 by a mask: a choice there keeps the compiler from summing in vectors.
  A gradient(A x, A dy) const {
    const bool off = before_relu(x) <= A(0);
    if constexpr (sizeof(A) == 4) return std::bit_cast<A>(std::bit_cast<std::uint32_t>(dy) & (off ? 0u : ~0u));
    return off ? A(0) : dy;
  }
};

}  // namespace

template <class T>
void batch_norm_relu(CpuStream, std::int64_t c, std::int64_t n, const T* x, const ChannelNorm<T>& norm, T* y) {
  using A = wide_t<T>;
#pragma omp parallel for schedule(static) if (worth_threads(c * n))
  for (std::int64_t i = 0; i < c; ++i) {
    const Channel<A> channel(norm, i);
    for (std::int64_t j = i * n; j < (i + 1) * n; ++j)
      y[j] = static_cast<T>(relu(channel.before_relu(static_cast<A>(x[j]))));
  }
}

template <class T>
std::size_t batch_norm_relu_scratch_bytes(CpuStream, std::int64_t, std::int64_t) {
  return 0;
}

template <class T>
void batch_norm_relu_dparams(CpuStream, std::int64_t c, std::int64_t n, const T* x, const T* dy,
                             const ChannelNorm<T>& norm, wide_t<T>* dgain, wide_t<T>* dbias, void*) {
  using A = wide_t<T>;
#pragma omp parallel for schedule(static) if (worth_threads(c * n))
  for (std::int64_t i = 0; i < c; ++i) {
    const Channel<A> channel(norm, i);
    const T* row = x + i * n;
    const T* drow = dy + i * n;
    double sum_gain = 0;
    double sum_bias = 0;
#pragma omp simd reduction(+ : sum_gain, sum_bias)
    for (std::int64_t j = 0; j < n; ++j) {
      const A value = static_cast<A>(row[j]);
      const A dz = channel.gradient(value, static_cast<A>(drow[j]));
      sum_gain += dz * (value - channel.mean);
      sum_bias += dz;
    }
    dgain[i] = static_cast<A>(sum_gain * channel.invstd);
    dbias[i] = static_cast<A>(sum_bias);
  }
}

template <class T>
void batch_norm_relu_dx(CpuStream, std::int64_t c, std::int64_t n, const T* x, const T* dy, const ChannelNorm<T>& norm,
                        const wide_t<T>* dgain, const wide_t<T>* dbias, T* dx) {
  using A = wide_t<T>;
  const A share = A(1) / static_cast<A>(n);
#pragma omp parallel for schedule(static) if (worth_threads(c * n))
  for (std::int64_t i = 0; i < c; ++i) {
    const Channel<A> channel(norm, i);
    const A mean_dz = dgain == nullptr ? A(0) : dbias[i] * share;
    const A slope = dgain == nullptr ? A(0) : dgain[i] * share * channel.invstd;
#pragma omp simd  // also where dx is dy, which the compiler's own check for overlap would refuse
    for (std::int64_t j = i * n; j < (i + 1) * n; ++j) {
      const A value = static_cast<A>(x[j]);
      const A dz = channel.gradient(value, static_cast<A>(dy[j]));
      // Not by way of zeros: in evaluation an infinite x has a gradient of 0, not NaN.
      dx[j] = static_cast<T>(channel.scale * (dgain == nullptr ? dz : dz - mean_dz - (value - channel.mean) * slope));
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                   \
  template void batch_norm_relu<T>(CpuStream, std::int64_t, std::int64_t, const T*, const ChannelNorm<T>&, T*); \
  template std::size_t batch_norm_relu_scratch_bytes<T>(CpuStream, std::int64_t, std::int64_t);                 \
  template void batch_norm_relu_dparams<T>(CpuStream, std::int64_t, std::int64_t, const T*, const T*,           \
                                           const ChannelNorm<T>&, wide_t<T>*, wide_t<T>*, void*);               \
  template void batch_norm_relu_dx<T>(CpuStream, std::int64_t, std::int64_t, const T*, const T*,                \
                                      const ChannelNorm<T>&, const wide_t<T>*, const wide_t<T>*, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
