// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC 2011), equal on CPU and CUDA, no state to save.
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"
#include "kernels/random/philox.h"

namespace lacuna {

/// Names one sequence of random numbers: element i of it is a pure function of (seed, sequence, i).
struct RandomKey {
  std::uint64_t seed = 0;
  std::uint64_t sequence = 0;
};

/// Word `index` of the key's sequence: 32 uniform bits.
inline std::uint32_t random_word(RandomKey key, std::uint64_t index) {
  return philox_word(key.seed, key.sequence, index);
}

/// Words 4 * block to 4 * block + 3 of the key's sequence, at the price of one.
inline Philox4 random_block(RandomKey key, std::uint64_t block) { return philox(key.seed, key.sequence, block); }

/// Hands out keys: call k of step t of a seed always gives the same key. Nothing but (seed, step) needs saving.
class RandomStream {
 public:
  explicit RandomStream(std::uint64_t seed, std::uint64_t step = 0) : seed_(seed), step_(step) {}
  RandomKey next() { return {seed_, (step_ << 20) | (calls_++ & 0xFFFFF)}; }
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_ = 0;
  std::uint64_t step_ = 0;
  std::uint64_t calls_ = 0;
};

/// Uniform in [low, high) / normal with the given mean and deviation; drawn on the host, then moved, so that every
/// backend starts from the same bits. f32 or f64.
Tensor random_uniform(const Shape& shape, double low, double high, RandomKey key, DType dtype, Device device);
Tensor random_normal(const Shape& shape, double mean, double deviation, RandomKey key, DType dtype, Device device);
/// A permutation of 0..n-1; a pure function of the key (Fisher-Yates on Philox draws).
std::vector<std::int64_t> random_permutation(std::int64_t n, RandomKey key);

}  // namespace lacuna
