// Sums that kernels build up in their output, where the output's type may be too coarse for it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "kernels/runtime/bf16.h"

namespace lacuna::kernels {

/// Calls f(sums) with n zeros to add into, and leaves them in out: f adds into out itself, but for bf16 into f32 that is
/// rounded once. Host code.
template <class T, class F>
void add_into(T* out, std::int64_t n, F&& f) {
  if constexpr (std::is_same_v<acc_t<T>, T>) {
    std::fill_n(out, n, T(0));
    f(out);
  } else {
    std::vector<acc_t<T>> sums(static_cast<std::size_t>(n));
    f(sums.data());
    std::transform(sums.begin(), sums.end(), out, [](acc_t<T> sum) { return static_cast<T>(sum); });
  }
}

}  // namespace lacuna::kernels
