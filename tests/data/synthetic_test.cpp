#include "data/synthetic.h"

#include <cmath>
#include <map>

#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

TEST(SyntheticImages, NearestPrototypeFindsTheClass) {
  const SyntheticImagesOptions options{.num_examples = 300, .num_classes = 5, .extent = {3, 16, 16}, .noise = 0.8};
  SyntheticImagesOptions clean = options;
  clean.noise = 0;
  const SyntheticImages noisy(options);
  const SyntheticImages pure(clean);
  const Batch a = noisy.batch(iota(300), {});
  const Batch b = pure.batch(iota(300), {});
  const auto labels = a.targets.to_vector<std::int32_t>();
  EXPECT_EQ(labels, b.targets.to_vector<std::int32_t>());
  std::map<std::int32_t, int> counts;
  for (const std::int32_t label : labels) ++counts[label];
  EXPECT_EQ(counts.size(), 5u);
  const auto x = a.inputs.to_vector<float>();
  const auto y = b.inputs.to_vector<float>();
  double noise = 0;
  for (std::size_t i = 0; i < x.size(); ++i) noise += (x[i] - y[i]) * (x[i] - y[i]);
  EXPECT_NEAR(std::sqrt(noise / static_cast<double>(x.size())), 0.8, 0.01);
  const auto distance = [&](std::size_t i, std::size_t j) {
    double sum = 0;
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t p = 0; p < 256; ++p) {
        const double d = x[(c * 300 + i) * 256 + p] - y[(c * 300 + j) * 256 + p];
        sum += d * d;
      }
    }
    return sum;
  };
  for (std::size_t i = 0; i < 50; ++i) {
    std::size_t nearest = 0;
    for (std::size_t j = 1; j < 40; ++j) {
      if (distance(i, j) < distance(i, nearest)) nearest = j;
    }
    EXPECT_EQ(labels[i], labels[nearest]);
  }
}

TEST(SyntheticImages, SplitsContinueTheSource) {
  const SyntheticImages all({.num_examples = 20, .extent = {1, 5, 7}});
  const SyntheticImages tail({.num_examples = 5, .extent = {1, 5, 7}, .first = 15});
  EXPECT_TRUE(equal(all.batch(iota(5, 15), {}), tail.batch(iota(5), {})));
  EXPECT_FALSE(equal(all.batch(iota(5), {}), tail.batch(iota(5), {})));
}

TEST(MarkovBytes, PairsPredictTheNextSymbolAsPromised) {
  const auto bytes = markov_bytes(400000, 16, 7);
  std::map<int, std::map<int, int>> counts;
  for (std::size_t i = 2; i < bytes.size(); ++i) ++counts[bytes[i - 2] * 256 + bytes[i - 1]][bytes[i]];
  double entropy = 0;
  for (const auto& [pair, next] : counts) {
    EXPECT_LE(next.size(), 4u);
    double total = 0;
    for (const auto& [symbol, count] : next) {
      EXPECT_LT(symbol, 16);
      total += count;
    }
    for (const auto& [symbol, count] : next) entropy -= count * std::log(count / total);
  }
  EXPECT_NEAR(entropy / static_cast<double>(bytes.size()), markov_entropy(), 0.01);
  EXPECT_EQ(bytes, markov_bytes(400000, 16, 7));
  EXPECT_NE(bytes, markov_bytes(400000, 16, 8));
  EXPECT_THROW(markov_bytes(10, 3, 0), ValueError);
}

}  // namespace
}  // namespace lacuna::test
