// Counter-based random numbers (Philox 4x32-10; Salmon et al., SC 2011), equal on CPU and CUDA, no state to save.
#pragma once

#include <array>
#include <cstdint>

#include "core/tensor.h"
#include "kernels/random/philox.h"

namespace lacuna {

/// Which of a seed's sequences: a number the host knows, or, in a captured step, one that is completed on the device.
struct SequenceNumber {
  std::uint64_t value = 0;
  const std::uint64_t* step = nullptr;  ///< device address of further bits; null = the host knows all

  constexpr SequenceNumber() = default;
  constexpr SequenceNumber(std::uint64_t number) : value(number) {}
  constexpr SequenceNumber(std::uint64_t number, const std::uint64_t* step_bits) : value(number), step(step_bits) {}
  /// The same with `bits` flipped, wherever the rest comes from.
  SequenceNumber with(std::uint64_t bits) const { return {value ^ bits, step}; }
  /// For kernels that complete it themselves.
  operator RandomSequence() const { return {value, step}; }
  /// For everyone else. Throws DeviceError in a captured step: the number would be frozen in its replays.
  operator std::uint64_t() const {
    if (step) refuse();
    return value;
  }

 private:
  [[noreturn]] static void refuse();
};

/// Names one sequence of random numbers: element i of it is a pure function of (seed, sequence, i).
struct RandomKey {
  std::uint64_t seed = 0;
  SequenceNumber sequence;
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
  /// The same keys for a step whose number is read when kernels run: `step_bits` is the address, on their device, of
  /// step_bits_of(step).
  static RandomStream of_step_in_memory(std::uint64_t seed, const std::uint64_t* step_bits) {
    RandomStream stream(seed);
    stream.device_step_ = step_bits;
    return stream;
  }
  static std::uint64_t step_bits_of(std::uint64_t step) { return step << 20; }

  RandomKey next() { return {seed_, {step_bits_of(step_) | (calls_++ & 0xFFFFF), device_step_}}; }
  std::uint64_t seed() const { return seed_; }

 private:
  std::uint64_t seed_ = 0;
  std::uint64_t step_ = 0;
  std::uint64_t calls_ = 0;
  const std::uint64_t* device_step_ = nullptr;
};

/// Uniform in [low, high), drawn where the tensor lies, the same bits on every backend. f32 or f64 (the CPU alone).
/// Throws DtypeError for another dtype, DeviceError for a sequence number that the host does not know.
Tensor random_uniform(const Shape& shape, double low, double high, RandomKey key, DType dtype, Device device);
/// Normal with the given mean and deviation; drawn on the host, then moved, so that every backend starts from the same
/// bits. f32 or f64.
Tensor random_normal(const Shape& shape, double mean, double deviation, RandomKey key, DType dtype, Device device);
/// A permutation of 0..n-1; a pure function of the key (Fisher-Yates on Philox draws).
std::vector<std::int64_t> random_permutation(std::int64_t n, RandomKey key);

}  // namespace lacuna
