// On the CPU threads take blocks of adjacent columns; what a block touches is still in cache when it is normalised.
// Sums are kept in double and in the order of kernels/layer_norm, so the results are those of the separate ops, bit for
// bit.
#include <algorithm>
#include <cmath>

#include "kernels/common/parallel.h"
#include "kernels/common/row_sum.h"
#include "kernels/residual_norm/residual_norm.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kColumns = 64;

std::int64_t column_blocks(std::int64_t n) { return (n + kColumns - 1) / kColumns; }

// out[j] = dropout(in[j] + shift) for `width` elements from `first` of the mask on.
template <class T>
void drop_row(const DropoutRule& dropout, std::int64_t first, std::int64_t width, const T* in, wide_t<T> shift,
              wide_t<T>* out) {
  using A = wide_t<T>;
  for (std::int64_t j = 0; j < width; ++j) out[j] = static_cast<A>(in[j]) + shift;
  if (!dropout.active()) return;
  std::uint32_t words[kColumns];
  dropout_words(dropout, first, width, words);
  const A keep_scale = static_cast<A>(dropout.keep_scale);
  for (std::int64_t j = 0; j < width; ++j) out[j] = keep_or_drop(out[j], words[j], dropout.threshold, keep_scale);
}

}  // namespace

template <class T>
void residual_norm(CpuStream, const ResidualNorm<T>& c) {
  using A = wide_t<T>;
#pragma omp parallel for schedule(static) if (worth_threads(c.f * c.n))
  for (std::int64_t block = 0; block < column_blocks(c.n); ++block) {
    const std::int64_t first = block * kColumns;
    const std::int64_t width = std::min(kColumns, c.n - first);
    double mean[kColumns] = {};
    double square[kColumns] = {};
    double rstd[kColumns];
    A dropped[kColumns];
    for (std::int64_t i = 0; i < c.f; ++i) {
      const std::int64_t at = i * c.n + first;
      drop_row(c.dropout, at, width, c.h + at, c.h_bias == nullptr ? A(0) : c.h_bias[i], dropped);
      for (std::int64_t j = 0; j < width; ++j) {
        const T sum = static_cast<T>(static_cast<A>(c.x[at + j]) + dropped[j]);
        c.r[at + j] = sum;
        mean[j] += static_cast<A>(sum);
      }
    }
    for (std::int64_t j = 0; j < width; ++j) mean[j] /= static_cast<double>(c.f);
    for (std::int64_t i = 0; i < c.f; ++i) {
      const T* row = c.r + i * c.n + first;
      for (std::int64_t j = 0; j < width; ++j) {
        const double centred = static_cast<A>(row[j]) - mean[j];
        square[j] += centred * centred;
      }
    }
    for (std::int64_t j = 0; j < width; ++j) {
      rstd[j] = 1.0 / std::sqrt(square[j] / static_cast<double>(c.f) + c.eps);
      c.mean[first + j] = static_cast<A>(mean[j]);
      c.rstd[first + j] = static_cast<A>(rstd[j]);
    }
    for (std::int64_t i = 0; i < c.f; ++i) {
      const T* row = c.r + i * c.n + first;
      T* out = c.y + i * c.n + first;
      for (std::int64_t j = 0; j < width; ++j) {
        out[j] = static_cast<T>((static_cast<A>(row[j]) - mean[j]) * rstd[j] * c.gain[i] + c.bias[i]);
      }
    }
  }
}

template <class T>
std::size_t residual_norm_scratch_bytes(CpuStream, std::int64_t, std::int64_t) {
  return 0;
}

template <class T>
void residual_norm_gradient(CpuStream, const ResidualNormGradient<T>& c, void*) {
  using A = wide_t<T>;
  // The parameters first: dx may overwrite dr, never r or dy.
#pragma omp parallel for schedule(static) if (worth_threads(c.f * c.n))
  for (std::int64_t i = 0; i < c.f; ++i) {
    const T* row = c.r + i * c.n;
    const T* drow = c.dy + i * c.n;
    double sum_gain = 0;
    double sum_bias = 0;
#pragma omp simd reduction(+ : sum_gain, sum_bias)
    for (std::int64_t j = 0; j < c.n; ++j) {
      const A dy = static_cast<A>(drow[j]);
      sum_gain += dy * ((static_cast<A>(row[j]) - c.mean[j]) * c.rstd[j]);
      sum_bias += dy;
    }
    c.dgain[i] = static_cast<A>(sum_gain);
    c.dbias[i] = static_cast<A>(sum_bias);
  }
#pragma omp parallel for schedule(static) if (worth_threads(c.f * c.n))
  for (std::int64_t block = 0; block < column_blocks(c.n); ++block) {
    const std::int64_t first = block * kColumns;
    const std::int64_t width = std::min(kColumns, c.n - first);
    const A* mean = c.mean + first;
    const A* rstd = c.rstd + first;
    double sum_g[kColumns] = {};
    double sum_gx[kColumns] = {};
    A dropped[kColumns];
    for (std::int64_t i = 0; i < c.f; ++i) {
      const std::int64_t at = i * c.n + first;
      for (std::int64_t j = 0; j < width; ++j) {
        const A g = c.gain[i] * static_cast<A>(c.dy[at + j]);
        sum_g[j] += g;
        sum_gx[j] += g * ((static_cast<A>(c.r[at + j]) - mean[j]) * rstd[j]);
      }
    }
    const double scale = 1.0 / static_cast<double>(c.f);
    for (std::int64_t j = 0; j < width; ++j) {
      sum_g[j] *= scale;
      sum_gx[j] *= scale;
    }
    for (std::int64_t i = 0; i < c.f; ++i) {
      const std::int64_t at = i * c.n + first;
#pragma omp simd  // also where dx is dr
      for (std::int64_t j = 0; j < width; ++j) {
        const A xhat = (static_cast<A>(c.r[at + j]) - mean[j]) * rstd[j];
        A dx = static_cast<A>(rstd[j] * (c.gain[i] * static_cast<A>(c.dy[at + j]) - sum_g[j] - xhat * sum_gx[j]));
        if (c.dr != nullptr) dx += static_cast<A>(c.dr[at + j]);
        c.dx[at + j] = static_cast<T>(dx);
      }
      if (c.dh == nullptr) continue;
      drop_row(c.dropout, at, width, c.dx + at, A(0), dropped);
      for (std::int64_t j = 0; j < width; ++j) c.dh[at + j] = static_cast<T>(dropped[j]);
    }
  }
  if (c.dh_bias == nullptr) return;
  const T* dh = c.dh == nullptr ? c.dx : c.dh;
#pragma omp parallel for schedule(static) if (worth_threads(c.f * c.n))
  for (std::int64_t i = 0; i < c.f; ++i) c.dh_bias[i] = static_cast<A>(row_sum(dh + i * c.n, c.n));
}

#define LACUNA_INSTANTIATE(T)                                                                 \
  template void residual_norm<T>(CpuStream, const ResidualNorm<T>&);                          \
  template std::size_t residual_norm_scratch_bytes<T>(CpuStream, std::int64_t, std::int64_t); \
  template void residual_norm_gradient<T>(CpuStream, const ResidualNormGradient<T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
