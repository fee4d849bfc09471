// The random choices of the data room: each a pure function of (seed, purpose, epoch, example).
#pragma once

#include <cstdint>

#include "core/random.h"

namespace lacuna {

enum class DataDraw : std::uint64_t {
  permutation = 0,
  shift,
  augment,
  split,
  files,
  prototypes,
  labels,
  noise,
  markov
};

/// Keys of this room have the top bit set, so that they never meet those that a RandomStream of the same seed hands
/// out.
inline RandomKey data_key(std::uint64_t seed, DataDraw purpose, std::int64_t epoch) {
  return {seed, (std::uint64_t{1} << 63) | (static_cast<std::uint64_t>(purpose) << 56) |
                    (static_cast<std::uint64_t>(epoch) & ((std::uint64_t{1} << 56) - 1))};
}

/// The draws of one example: 64 words of its key's sequence, taken in order.
class ExampleDraws {
 public:
  ExampleDraws(RandomKey key, std::int64_t example) : key_(key), next_(static_cast<std::uint64_t>(example) * 64) {}
  std::uint32_t word() { return random_word(key_, next_++); }
  double uniform() { return word() * (1.0 / 4294967296.0); }  ///< [0, 1)
  std::int64_t below(std::int64_t n) {                        ///< 0..n-1, for n < 2^32
    return static_cast<std::int64_t>((static_cast<std::uint64_t>(word()) * static_cast<std::uint64_t>(n)) >> 32);
  }
  bool coin() { return (word() >> 31) != 0; }

 private:
  RandomKey key_;
  std::uint64_t next_;
};

}  // namespace lacuna
