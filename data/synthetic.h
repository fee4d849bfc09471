// Data made on the spot: for tests, smoke runs and benchmarks. The same on every machine.
#pragma once

#include <cstdint>
#include <vector>

#include "data/dataset.h"

namespace lacuna {

struct SyntheticImagesOptions {
  std::int64_t num_examples = 4096;
  std::int64_t num_classes = 10;
  ImageExtent extent{3, 32, 32};
  double noise = 1.0;      ///< deviation of the noise; the prototypes' own is 1
  std::uint64_t seed = 0;  ///< fixes the prototypes
  std::int64_t first = 0;  ///< number of the first example: splits of one source do not overlap
};

/// Classification: example i is its class's prototype (a pattern of 4x4-pixel blocks) plus near-normal noise (the sum
/// of four uniform bytes). Linearly separable in the mean, so any model must learn it.
class SyntheticImages final : public Dataset {
 public:
  explicit SyntheticImages(const SyntheticImagesOptions& options);

  DatasetKind kind() const override { return DatasetKind::images; }
  std::int64_t num_examples() const override { return options_.num_examples; }
  std::int64_t num_classes() const override { return options_.num_classes; }
  ImageExtent image() const override { return options_.extent; }
  std::string description() const override;
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  SyntheticImagesOptions options_;
  std::vector<float> prototypes_;  // [classes, c, h, w]
};

/// `count` bytes of an order-2 Markov source over the symbols 0..num_symbols-1: each pair of symbols is followed by one
/// of four, drawn for that pair, with probabilities kMarkovProbabilities. Put ByteText over them.
std::vector<std::uint8_t> markov_bytes(std::int64_t count, std::int64_t num_symbols, std::uint64_t seed);
inline constexpr double kMarkovProbabilities[4] = {0.625, 0.1875, 0.125, 0.0625};
/// Entropy of the next symbol in nats: the loss of a perfect model.
double markov_entropy();

}  // namespace lacuna
