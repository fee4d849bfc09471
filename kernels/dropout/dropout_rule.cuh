// A DropoutRule on adjacent elements held in registers. Device code only.
#pragma once

#include "kernels/dropout/dropout_rule.h"

namespace lacuna::kernels {

/// Drops elements first .. first + kVector - 1 of an array. With kVector 4 (the other choice is 1) first must be a
/// multiple of 4: one draw serves all.
template <int kVector, class A>
__device__ __forceinline__ void drop(A (&values)[kVector], std::int64_t first, const DropoutRule& rule) {
  if (!rule.active()) return;
  const A keep_scale = static_cast<A>(rule.keep_scale);
  const Philox4 words = philox(rule.seed, rule.sequence, static_cast<std::uint64_t>(first / 4));
  if constexpr (kVector == 4) {
#pragma unroll
    for (int v = 0; v < 4; ++v) values[v] = keep_or_drop(values[v], words.v[v], rule.threshold, keep_scale);
  } else {
    static_assert(kVector == 1);
    const auto skipped = static_cast<int>(first % 4);  // selected, not indexed: words stay in registers
    const std::uint32_t word = skipped == 0   ? words.v[0]
                               : skipped == 1 ? words.v[1]
                               : skipped == 2 ? words.v[2]
                                              : words.v[3];
    values[0] = keep_or_drop(values[0], word, rule.threshold, keep_scale);
  }
}

}  // namespace lacuna::kernels
