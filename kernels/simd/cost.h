// What the models of CPU times (spmm_cpu_plan.cpp, sddmm_cpu_plan.cpp) share.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// Piecewise linear through (x[i], y[i]), constant beyond the ends.
template <int N>
constexpr double interpolate(const double (&x)[N], const double (&y)[N], double at) {
  if (at <= x[0]) return y[0];
  for (int i = 1; i < N; ++i) {
    if (at <= x[i]) return y[i - 1] + (y[i] - y[i - 1]) * (at - x[i - 1]) / (x[i] - x[i - 1]);
  }
  return y[N - 1];
}

/// Blocks of `block` columns, `vectors` vectors each, in n columns: a narrow last one counts by its vectors. Half a
/// block at least: what a block costs besides its multiply-adds does not shrink further.
constexpr double blocks_of(std::int64_t n, std::int64_t block, std::int64_t vectors) {
  const std::int64_t lanes = block / vectors;
  const double blocks = static_cast<double>((n + lanes - 1) / lanes) / static_cast<double>(vectors);
  return blocks < 0.5 ? 0.5 : blocks;
}

}  // namespace lacuna::kernels
