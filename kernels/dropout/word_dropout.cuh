// A DropoutRule made ready once a thread, for one, four or eight adjacent elements at a time. Device code only.
#pragma once

#include "kernels/dropout/dropout_rule.h"

namespace lacuna::kernels {

/// Blocks `counter` to `counter + kCount - 1` of a sequence, round by round: the keys are made once for all of them.
template <int kCount>
__device__ __forceinline__ void philox_blocks(std::uint64_t seed, std::uint64_t sequence, std::uint64_t counter,
                                              Philox4 (&blocks)[kCount]) {
  auto key0 = static_cast<std::uint32_t>(seed), key1 = static_cast<std::uint32_t>(seed >> 32);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    blocks[i] = Philox4{{static_cast<std::uint32_t>(counter + i), static_cast<std::uint32_t>((counter + i) >> 32),
                         static_cast<std::uint32_t>(sequence), static_cast<std::uint32_t>(sequence >> 32)}};
#pragma unroll
  for (int round = 0; round < 10; ++round) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) philox_round(blocks[i], key0, key1);
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
}

class WordDropout {
 public:
  /// Reads the rule's sequence, which may lie in memory.
  __device__ __forceinline__ explicit WordDropout(const DropoutRule& rule)
      : seed_(rule.seed),
        sequence_(rule.active() ? static_cast<std::uint64_t>(rule.sequence) : 0),
        last_((static_cast<std::uint32_t>(ceilf(rule.threshold * 16777216.0f)) << 8) - 1),
        keep_scale_(static_cast<float>(rule.keep_scale)),
        active_(rule.active()) {}

  /// Drops elements first .. first + kCount - 1; `first` is a multiple of 4 unless kCount is 1. A dropped NaN is 0.
  template <int kCount>
  __device__ __forceinline__ void operator()(float (&values)[kCount], std::int64_t first) const {
    if (!active_) return;
    std::uint32_t words[kCount];
    draw(words, first);
#pragma unroll
    for (int v = 0; v < kCount; ++v) values[v] = words[v] <= last_ ? 0.0f : values[v] * keep_scale_;
  }

  __device__ __forceinline__ bool active() const { return active_; }

  /// Bit v: element first + v stays. To draw while something else is waited for; all bits when nothing drops.
  template <int kCount>
  __device__ __forceinline__ std::uint32_t kept(std::int64_t first) const {
    std::uint32_t bits = (1u << kCount) - 1;
    if (!active_) return bits;
    std::uint32_t words[kCount];
    draw(words, first);
#pragma unroll
    for (int v = 0; v < kCount; ++v) bits = words[v] <= last_ ? bits & ~(1u << v) : bits;
    return bits;
  }

  /// What kept() said, done; nothing is scaled by 1 / (1 - 0).
  template <int kCount>
  __device__ __forceinline__ void apply(float (&values)[kCount], std::uint32_t bits) const {
#pragma unroll
    for (int v = 0; v < kCount; ++v) values[v] = bits & 1u << v ? values[v] * keep_scale_ : 0.0f;
  }

 private:
  template <int kCount>
  __device__ __forceinline__ void draw(std::uint32_t (&words)[kCount], std::int64_t first) const {
    static_assert(kCount == 1 || kCount % 4 == 0);
    if constexpr (kCount == 1) {
      const Philox4 block = philox(seed_, sequence_, static_cast<std::uint64_t>(first / 4));
      const auto skipped = static_cast<int>(first % 4);  // selected, not indexed: words stay in registers
      words[0] = skipped == 0 ? block.v[0] : skipped == 1 ? block.v[1] : skipped == 2 ? block.v[2] : block.v[3];
    } else {
      Philox4 blocks[kCount / 4];
      philox_blocks(seed_, sequence_, static_cast<std::uint64_t>(first / 4), blocks);
#pragma unroll
      for (int v = 0; v < kCount; ++v) words[v] = blocks[v / 4].v[v % 4];
    }
  }

  std::uint64_t seed_, sequence_;
  // Words up to this one drop: uniform_from_word(word) < threshold in whole numbers, without a conversion for each. With
  // a threshold that rounded to 1 the shift gives 2^32, which is 0: less one all words drop, as all uniforms are below 1.
  std::uint32_t last_;
  float keep_scale_;
  bool active_;
};

}  // namespace lacuna::kernels
