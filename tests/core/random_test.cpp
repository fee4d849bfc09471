// Keys whose step lies in memory: the same numbers as keys whose step the host knows, and no silent use of half a key.
#include "core/random.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/update_all.h"

namespace lacuna {
namespace {

/// Where a captured step would find its number.
struct StepInMemory {
  explicit StepInMemory(Device device) : bits(Tensor::empty({8}, DType::u8, device)) {}
  void set(std::uint64_t step) {
    const std::uint64_t word = RandomStream::step_bits_of(step);
    store(bits, &word);
  }
  RandomStream stream(std::uint64_t seed) {
    return RandomStream::of_step_in_memory(seed, static_cast<const std::uint64_t*>(bits.raw()));
  }
  Tensor bits;
};

TEST(RandomStream, AStepInMemoryGivesTheSameMasks) {
  for (const Device device : devices()) {
    StepInMemory memory(device);
    const Tensor x = random_uniform({7, 301}, 0.5, 1, {1, 1}, DType::f32, device);
    std::vector<std::vector<float>> seen;
    for (const std::uint64_t step : {1ull, 2ull, 700000ull}) {
      memory.set(step);
      RandomStream host(9, step), in_memory = memory.stream(9);
      for (int call = 0; call < 3; ++call) {
        const auto expected = dropout(x, 0.4, host.next()).to_vector<float>();
        EXPECT_EQ(dropout(x, 0.4, in_memory.next()).to_vector<float>(), expected) << "step " << step;
        for (const auto& other : seen) EXPECT_NE(other, expected);
        seen.push_back(expected);
      }
    }
  }
}

TEST(RandomStream, AttentionDrawsByAStepInMemory) {
  for (const Device device : devices()) {
    const TopologyPtr pattern = Topology::from_csr(4, 4, Tensor::from<std::int32_t>({0, 1, 3, 6, 10}, {5}),
                                                   Tensor::from<std::int32_t>({0, 0, 1, 0, 1, 2, 0, 1, 2, 3}, {10}))
                                    ->to(device);
    StepInMemory memory(device);
    const Tensor q = random_uniform({4, 4, 32}, -1, 1, {1, 1}, DType::f32, device);
    for (const std::uint64_t step : {3ull, 4ull}) {
      memory.set(step);
      RandomStream host(5, step), in_memory = memory.stream(5);
      EXPECT_EQ(sparse_attention(q, q, q, {pattern, pattern}, 2, 0.3, 0.5, in_memory.next()).to_vector<float>(),
                sparse_attention(q, q, q, {pattern, pattern}, 2, 0.3, 0.5, host.next()).to_vector<float>());
    }
  }
}

TEST(RandomUniform, ElementIComesFromWordIOnEveryBackend) {
  for (const Device device : devices())
    for (const std::int64_t n : {0, 1, 3, 4, 5, 20001})
      for (const auto& [low, high] : {std::pair{0.0, 1.0}, std::pair{-0.3, 0.7}, std::pair{2.0, 2.0}}) {
        const RandomKey key{7, 12345678901ull};
        const auto drawn = random_uniform({n}, low, high, key, DType::f32, device).to_vector<float>();
        ASSERT_EQ(drawn.size(), static_cast<std::size_t>(n));
        for (std::int64_t i = 0; i < n; ++i) {
          const double u = uniform_from_word(random_word(key, static_cast<std::uint64_t>(i)));
          ASSERT_EQ(drawn[static_cast<std::size_t>(i)], static_cast<float>(low + (high - low) * u)) << i << " of " << n;
        }
      }
}

TEST(RandomStream, HalfAKeyIsRefusedOnTheHost) {
  StepInMemory memory(kCpu);
  memory.set(1);
  const RandomKey key = memory.stream(2).next();
  EXPECT_THROW(random_word(key, 0), DeviceError);
  EXPECT_THROW(random_uniform({3}, 0, 1, key, DType::f32, kCpu), DeviceError);
  EXPECT_THROW((void)(key.sequence ^ 1u), DeviceError);
}

}  // namespace
}  // namespace lacuna
