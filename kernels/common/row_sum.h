// Sum of a run of numbers on the CPU, in the order of kernels/reduce: the same bits as sum_columns gives.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// Eight interleaved double accumulators: it vectorises, and the order is fixed.
template <class T>
double row_sum(const T* x, std::int64_t n) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += static_cast<double>(x[i + lane]);
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += static_cast<double>(x[i]);
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

}  // namespace lacuna::kernels
