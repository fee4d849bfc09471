#include "data/made_up.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <set>

#include "core/errors.h"

namespace lacuna {
namespace {

const std::vector<std::int64_t> kIndices{5, 0, 999, 5};

TEST(MadeUpExamples, ImagesHaveTheShapeAndLookNormalised) {
  const MadeUpExamples data({.num_examples = 1000, .num_classes = 7, .image = {3, 24, 20}, .seed = 4});
  EXPECT_EQ(data.kind(), DatasetKind::images);
  EXPECT_EQ(data.description(), "made-up data, 1000 random images 3x24x20, 7 classes");
  const Batch batch = data.batch(kIndices, {});
  ASSERT_EQ(batch.inputs.shape(), (Shape{3, 4 * 24 * 20}));
  ASSERT_EQ(batch.targets.shape(), Shape{4});
  const std::vector<float> x = batch.inputs.to_vector<float>();
  double sum = 0, squares = 0;
  for (const float v : x) sum += v, squares += static_cast<double>(v) * v;
  const double n = static_cast<double>(x.size());
  EXPECT_NEAR(sum / n, 0, 0.1);
  EXPECT_NEAR(squares / n, 1, 0.1);
  // CNHW: examples 0 and 3 are the same, 1 is another, in each channel; channels differ.
  constexpr std::size_t kPlane = 24 * 20;
  std::set<std::vector<float>> planes;
  for (std::size_t c = 0; c < 3; ++c) {
    const auto plane = [&](std::size_t b) {
      const auto begin = x.begin() + static_cast<std::ptrdiff_t>((c * 4 + b) * kPlane);
      return std::vector<float>(begin, begin + kPlane);
    };
    EXPECT_EQ(plane(0), plane(3));
    for (std::size_t b = 0; b < 3; ++b) planes.insert(plane(b));
  }
  EXPECT_EQ(planes.size(), 9U);
}

TEST(MadeUpExamples, EveryClassComesAndNoOther) {
  const MadeUpExamples data({.num_examples = 400, .num_classes = 10, .image = {1, 2, 2}});
  std::vector<std::int64_t> all(400);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  std::set<std::int32_t> seen;
  for (const std::int32_t target : data.batch(all, {}).targets.to_vector<std::int32_t>()) seen.insert(target);
  EXPECT_EQ(seen.size(), 10U);
  EXPECT_EQ(*seen.begin(), 0);
  EXPECT_EQ(*seen.rbegin(), 9);
}

TEST(MadeUpExamples, ATokensTargetIsTheNextToken) {
  const MadeUpExamples data({.num_examples = 1000, .num_classes = 256, .sequence_length = 300});
  EXPECT_EQ(data.kind(), DatasetKind::tokens);
  EXPECT_EQ(data.image(), ImageExtent{});
  const Batch batch = data.batch(kIndices, {});
  ASSERT_EQ(batch.inputs.shape(), Shape{1200});
  const auto tokens = batch.inputs.to_vector<std::int32_t>(), targets = batch.targets.to_vector<std::int32_t>();
  std::set<std::int32_t> seen;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    seen.insert(tokens[i]);
    EXPECT_TRUE(tokens[i] >= 0 && tokens[i] < 256);
    if (i % 300 != 299) {
      EXPECT_EQ(targets[i], tokens[i + 1]);
    }
  }
  EXPECT_GT(seen.size(), 200U);
}

TEST(MadeUpExamples, AreAFunctionOfSeedAndNumber) {
  const MadeUpOptions options{.num_examples = 1000, .num_classes = 7, .image = {3, 8, 8}, .seed = 4};
  const auto pixels = [](const MadeUpOptions& o) {
    return MadeUpExamples(o).batch(kIndices, {}).inputs.to_vector<float>();
  };
  EXPECT_EQ(pixels(options), pixels(options));
  MadeUpOptions other = options;
  other.seed = 5;
  EXPECT_NE(pixels(options), pixels(other));
}

TEST(ResidentBatch, IsTheFirstBatchEveryTimeAndOnTheDevice) {
  const auto whole = std::make_shared<MadeUpExamples>(MadeUpOptions{.num_examples = 9, .image = {3, 4, 4}});
  const std::vector<std::int64_t> first{0, 1, 2, 3}, others{8, 2, 2, 1}, fewer{1};
  const Batch wanted = whole->batch(first, {});
  for (const Device device : devices()) {
    const ResidentBatch data(whole, 4, device);
    EXPECT_EQ(data.num_examples(), 9);
    EXPECT_EQ(data.image(), whole->image());
    const Batch batch = data.batch(others, {.augment = true});
    EXPECT_TRUE(batch.inputs.device() == device && batch.targets.device() == device);
    EXPECT_EQ(batch.num_examples, 4);
    EXPECT_EQ(batch.inputs.to_vector<float>(), wanted.inputs.to_vector<float>());
    EXPECT_EQ(batch.targets.to_vector<std::int32_t>(), wanted.targets.to_vector<std::int32_t>());
    EXPECT_EQ(data.batch(first, {}).inputs.raw(), batch.inputs.raw());
    EXPECT_THROW(data.batch(fewer, {}), ValueError);
  }
  EXPECT_THROW(ResidentBatch(whole, 10, kCpu), ValueError);
  EXPECT_THROW(ResidentBatch(whole, 0, kCpu), ValueError);
}

TEST(MadeUpExamples, RefusesWhatCannotBe) {
  EXPECT_THROW(MadeUpExamples({.num_examples = 0}), ValueError);
  EXPECT_THROW(MadeUpExamples({.num_classes = 0}), ValueError);
  EXPECT_THROW(MadeUpExamples({.image = {3, 0, 8}}), ValueError);
  EXPECT_THROW(MadeUpExamples({.sequence_length = -1}), ValueError);
  const MadeUpExamples data(MadeUpOptions{});
  const std::vector<std::int64_t> past{4096};
  EXPECT_THROW(data.batch(past, {}), IndexError);
}

}  // namespace
}  // namespace lacuna
