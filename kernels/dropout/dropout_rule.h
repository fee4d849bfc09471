// What dropout does to one element, for kernels that apply it on the way: the mask of kernels/dropout/dropout.h, drawn
// again wherever it is needed. Host and device.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/random/philox.h"

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

namespace lacuna::kernels {

struct DropoutRule {
  float threshold = 0;    ///< p; with 0 nothing is dropped and no number drawn
  double keep_scale = 1;  ///< 1 / (1 - p)
  std::uint64_t seed = 0;
  RandomSequence sequence;
  LACUNA_HOST_DEVICE bool active() const { return threshold > 0; }
};

/// p in [0, 1).
inline DropoutRule dropout_rule(double p, std::uint64_t seed, RandomSequence sequence) {
  return {static_cast<float>(p), 1 / (1 - p), seed, sequence};
}

/// x / (1 - p), or 0 where the element's word says so: a dropped NaN is 0.
template <class A>
LACUNA_HOST_DEVICE inline A keep_or_drop(A x, std::uint32_t word, float threshold, A keep_scale) {
  return uniform_from_word(word) < threshold ? A(0) : x * keep_scale;
}

/// Words `first` to `first + count - 1` of the rule's sequence, four at the price of one.
inline void dropout_words(const DropoutRule& rule, std::int64_t first, std::int64_t count, std::uint32_t* words) {
  for (std::int64_t done = 0; done < count;) {
    const std::int64_t index = first + done, skipped = index % 4;
    const Philox4 block = philox(rule.seed, rule.sequence, static_cast<std::uint64_t>(index / 4));
    const std::int64_t take = std::min<std::int64_t>(4 - skipped, count - done);
    for (std::int64_t w = 0; w < take; ++w) words[done + w] = block.v[skipped + w];
    done += take;
  }
}

}  // namespace lacuna::kernels

#undef LACUNA_HOST_DEVICE
