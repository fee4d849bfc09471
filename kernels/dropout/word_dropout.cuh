// A DropoutRule made ready once a thread, for eight adjacent elements at a time. Device code only.
#pragma once

#include "kernels/dropout/dropout_rule.h"

namespace lacuna::kernels {

class WordDropout {
 public:
  /// Reads the rule's sequence, which may lie in memory.
  __device__ __forceinline__ explicit WordDropout(const DropoutRule& rule)
      : seed_(rule.seed),
        sequence_(rule.active() ? static_cast<std::uint64_t>(rule.sequence) : 0),
        last_((static_cast<std::uint32_t>(ceilf(rule.threshold * 16777216.0f)) << 8) - 1),
        keep_scale_(static_cast<float>(rule.keep_scale)),
        active_(rule.active()) {}

  /// Drops elements first .. first + 7; `first` is a multiple of 4.
  __device__ __forceinline__ void operator()(float (&values)[8], std::int64_t first) const {
    if (!active_) return;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const Philox4 words = philox(seed_, sequence_, static_cast<std::uint64_t>(first / 4 + half));
#pragma unroll
      for (int v = 0; v < 4; ++v)
        values[4 * half + v] = words.v[v] <= last_ ? 0.0f : values[4 * half + v] * keep_scale_;
    }
  }

 private:
  std::uint64_t seed_, sequence_;
  // Words up to this one drop: uniform_from_word(word) < threshold in whole numbers, without a conversion for each. With
  // a threshold that rounded to 1 the shift gives 2^32, which is 0: less one all words drop, as all uniforms are below 1.
  std::uint32_t last_;
  float keep_scale_;
  bool active_;
};

}  // namespace lacuna::kernels
