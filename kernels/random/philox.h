// Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3; SC 2011). Host and device.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define LACUNA_HOST_DEVICE __host__ __device__
#else
#define LACUNA_HOST_DEVICE
#endif

namespace lacuna {

struct Philox4 {
  std::uint32_t v[4];
};

/// A sequence's number, part of which may lie in the memory of whoever draws: a captured kernel then draws other numbers
/// in each replay. Kernels take it by value and turn it into a number where they run.
struct RandomSequence {
  std::uint64_t value = 0;
  const std::uint64_t* step = nullptr;  ///< further bits, or null

  RandomSequence() = default;
  LACUNA_HOST_DEVICE RandomSequence(std::uint64_t number, const std::uint64_t* step_bits = nullptr)
      : value(number), step(step_bits) {}
  LACUNA_HOST_DEVICE operator std::uint64_t() const { return step ? value ^ *step : value; }
};

inline constexpr std::uint32_t kPhiloxWeyl0 = 0x9E3779B9u, kPhiloxWeyl1 = 0xBB67AE85u;  // what a round adds to the key

LACUNA_HOST_DEVICE inline void philox_round(Philox4& c, std::uint32_t key0, std::uint32_t key1) {
  const std::uint64_t product0 = 0xD2511F53ull * c.v[0];
  const std::uint64_t product1 = 0xCD9E8D57ull * c.v[2];
  c = Philox4{{static_cast<std::uint32_t>(product1 >> 32) ^ c.v[1] ^ key0, static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ c.v[3] ^ key1, static_cast<std::uint32_t>(product0)}};
}

/// Four random words: block `counter` of the sequence (seed, sequence).
LACUNA_HOST_DEVICE inline Philox4 philox(std::uint64_t seed, std::uint64_t sequence, std::uint64_t counter) {
  std::uint32_t key0 = static_cast<std::uint32_t>(seed);
  std::uint32_t key1 = static_cast<std::uint32_t>(seed >> 32);
  Philox4 c{{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32),
             static_cast<std::uint32_t>(sequence), static_cast<std::uint32_t>(sequence >> 32)}};
  for (int round = 0; round < 10; ++round) {
    philox_round(c, key0, key1);
    key0 += kPhiloxWeyl0;
    key1 += kPhiloxWeyl1;
  }
  return c;
}

/// Word `index` of the sequence. Element i of any random tensor uses word i.
LACUNA_HOST_DEVICE inline std::uint32_t philox_word(std::uint64_t seed, std::uint64_t sequence, std::uint64_t index) {
  return philox(seed, sequence, index / 4).v[index % 4];
}

/// [0, 1) with 24 bits: exact in f32, so CPU and CUDA, f32 and f64 agree.
LACUNA_HOST_DEVICE inline float uniform_from_word(std::uint32_t word) {
  return static_cast<float>(word >> 8) * (1.0f / 16777216.0f);
}

}  // namespace lacuna
