// Growth: the streaming top k over tiles against all scores at once.
#include "pruning/growth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/select.h"
#include "core/ops/spmm.h"
#include "core/random.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

std::vector<std::uint8_t> bytes_of(const Topology& t) {
  std::vector<std::uint8_t> mask(static_cast<std::size_t>(t.rows() * t.cols()), 0);
  const auto offsets = t.row_offsets().to_vector<std::int32_t>(), columns = t.col_indices().to_vector<std::int32_t>();
  for (std::int64_t r = 0; r < t.rows(); ++r)
    for (std::int32_t i = offsets[static_cast<std::size_t>(r)]; i < offsets[static_cast<std::size_t>(r) + 1]; ++i)
      mask[static_cast<std::size_t>(r * t.cols() + columns[static_cast<std::size_t>(i)])] = 1;
  return mask;
}

/// kept, and the `count` best absent entries by a stable sort of all scores.
std::vector<std::uint8_t> naive(const Topology& kept, const std::vector<double>& scores, std::int64_t count) {
  std::vector<std::uint8_t> mask = bytes_of(kept);
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < mask.size(); ++i)
    if (!mask[i]) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
  for (std::int64_t i = 0; i < count; ++i) mask[order[static_cast<std::size_t>(i)]] = 1;
  return mask;
}

GradientPairs make_pairs(std::int64_t m, std::int64_t k, int num, Device device) {
  GradientPairs pairs;
  for (int i = 0; i < num; ++i) {
    const auto seed = static_cast<std::uint64_t>(10 * i);
    pairs.add(random_normal({m, 6}, 0, 1, {seed, 1}, DType::f32, kCpu).to(device),
              random_normal({k, 6}, 0, 1, {seed, 2}, DType::f32, kCpu).to(device));
  }
  return pairs;
}

TEST(Growth, StreamingEqualsTheTopOfTheWholeGradient) {
  for (const Device device : devices()) {
    const std::int64_t m = 37, k = 29;
    const TopologyPtr kept = random_topology(m, k, 0.8, 3)->to(device);
    const GradientPairs pairs = make_pairs(m, k, 2, device);
    const Tensor whole = magnitude(add(matmul(pairs.pairs[0].dc, pairs.pairs[0].b, false, true),
                                       matmul(pairs.pairs[1].dc, pairs.pairs[1].b, false, true)));
    const std::vector<float> scores = whole.to_vector<float>();
    for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{50}, m * k - kept->nnz()})
      for (const std::int64_t tile : {1, 64, 300, 1 << 20})
        EXPECT_EQ(bytes_of(*grow(kept, count, {}, gradient_scores(pairs), tile)),
                  naive(*kept, {scores.begin(), scores.end()}, count))
            << "count " << count << ", tile " << tile;
    EXPECT_THROW(grow(kept, m * k - kept->nnz() + 1, {}, gradient_scores(pairs)), ValueError);
  }
}

TEST(Growth, TiesGoToTheLowerIndexAcrossTiles) {
  const TopologyPtr kept = random_topology(12, 5, 0.7, 1);
  const RowScores equal = [](std::int64_t begin, std::int64_t end) {
    return Tensor::full({end - begin, 5}, 2.0, DType::f64);
  };
  for (const std::int64_t tile : {5, 15, 1000})
    EXPECT_EQ(bytes_of(*grow(kept, 20, {}, equal, tile)), naive(*kept, std::vector<double>(60, 2.0), 20));
}

TEST(Growth, WholeBlocksByTheirMean) {
  const std::int64_t m = 12, k = 20;
  const Granularity blocks{.unit_rows = 4, .unit_cols = 5};
  const GradientPairs pairs = make_pairs(m, k, 1, kCpu);
  const Tensor whole = magnitude(matmul(pairs.pairs[0].dc, pairs.pairs[0].b, false, true));
  const std::vector<float> means = unit_scores(whole, nullptr, blocks.grid({m, k})).to_vector<float>();
  for (const std::int64_t tile : {20, 100, 10000}) {
    const TopologyPtr kept = grow(empty_pattern(m, k, kCpu), 3, blocks, gradient_scores(pairs), tile);
    EXPECT_EQ(kept->nnz(), 3 * 20);
    const std::vector<std::uint8_t> mask = bytes_of(*grow(kept, 4, blocks, gradient_scores(pairs), tile));
    std::vector<std::size_t> order(means.size());
    std::iota(order.begin(), order.end(), 0u);
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return means[a] > means[b]; });
    for (std::size_t rank = 0; rank < order.size(); ++rank) {
      const std::size_t row = order[rank] / 4 * 4, column = order[rank] % 4 * 5;
      for (std::size_t i = 0; i < 20; ++i)
        EXPECT_EQ(mask[(row + i / 5) * 20 + column + i % 5], rank < 7) << rank << ", tile " << tile;
    }
  }
}

TEST(Growth, GroupsAreFilledUp) {
  const Granularity groups{.n = 2, .m = 4};
  const TopologyPtr kept = Topology::from_csr(2, 8, Tensor::from<std::int32_t>({0, 3, 4}, {3}),
                                              Tensor::from<std::int32_t>({0, 1, 6, 3}, {4}));
  const RowScores scores = [](std::int64_t begin, std::int64_t end) {
    std::vector<double> all{9, 8, 7, 6, 1, 2, 3, 4, 5, 5, 5, 5, 4, 6, 6, 1};
    return Tensor::from<double>({all.begin() + begin * 8, all.begin() + end * 8}, {end - begin, 8});
  };
  EXPECT_EQ(bytes_of(*grow(kept, 2, groups, scores, 8)),
            (std::vector<std::uint8_t>{1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 0}));
}

TEST(Growth, SpmmHandsOverItsOperands) {
  const TopologyPtr pattern = random_topology(7, 5, 0.5, 4);
  const Var values(random_normal({pattern->nnz()}, 0, 1, {1, 0}, DType::f64, kCpu), true);
  for (const Activation activation : {Activation::none, Activation::relu, Activation::gelu}) {
    const auto pairs = std::make_shared<GradientPairs>();
    const Tensor b = random_normal({5, 9}, 0, 1, {2, 0}, DType::f64, kCpu);
    const Tensor seed = random_normal({7, 9}, 0, 1, {3, 0}, DType::f64, kCpu);
    values.clear_grad();
    backward(spmm(SparseVar{values, pattern}, Var(b), Var(), activation, pairs), seed);
    ASSERT_EQ(pairs->pairs.size(), 1u);
    const Tensor dense = matmul(pairs->pairs[0].dc, pairs->pairs[0].b, false, true);
    const std::vector<double> expected = sample(dense, pattern).values.to_vector<double>();
    const std::vector<double> gradient = values.grad().to_vector<double>();
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(gradient[i], expected[i], 1e-12);
  }
}

TEST(Units, ScoresExpandAndGroups) {
  for (const Device device : devices()) {
    // [3, 5] in units of [2, 2]: the last column and row are cut off.
    const UnitGrid grid{3, 5, 2, 2};
    std::vector<float> all(15);
    std::iota(all.begin(), all.end(), 0.0f);
    EXPECT_EQ(unit_scores(Tensor::from(all, {15}, device), nullptr, grid).to_vector<float>(),
              (std::vector<float>{3, 5, 6.5f, 10.5f, 12.5f, 14}));
    const TopologyPtr sparse = Topology::from_csr(3, 5, Tensor::from<std::int32_t>({0, 2, 3, 4}, {4}, device),
                                                  Tensor::from<std::int32_t>({0, 4, 1, 2}, {4}, device));
    const std::vector<float> means =
        unit_scores(Tensor::from<float>({1, 2, 3, 4}, {4}, device), sparse, grid).to_vector<float>();
    EXPECT_EQ(means[0], 1.0f);  // (1 + 3) / 4
    EXPECT_TRUE(std::isnan(means[1]));
    EXPECT_EQ(means[2], 1.0f);
    EXPECT_EQ(means[4], 2.0f);
    const Tensor keep = Tensor::from<std::uint8_t>({1, 0, 0, 0, 1, 0}, {6}, device);
    EXPECT_EQ(expand_units(keep, sparse, grid).to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{1, 0, 1, 1}));
    EXPECT_EQ(expand_units(keep, nullptr, grid).to_vector<std::uint8_t>(),
              (std::vector<std::uint8_t>{1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0}));
    const float nan = std::nanf("");
    EXPECT_EQ(top_n_of_m(Tensor::from<float>({1, 3, 3, 3, nan, 0, 0, -1}, {1, 8}, device), nullptr, 2, 4)
                  .to_vector<std::uint8_t>(),
              (std::vector<std::uint8_t>{0, 1, 1, 0, 0, 1, 1, 0}));
    EXPECT_EQ(top_n_of_m(Tensor::from<float>({1, 2, 3, 4}, {4}, device), sparse, 1, 3).to_vector<std::uint8_t>(),
              (std::vector<std::uint8_t>{1, 1, 1, 1}));
    EXPECT_THROW(unit_scores(Tensor::from(all, {15}, device), sparse, grid), ShapeError);
    EXPECT_THROW(expand_units(keep, sparse, {3, 4, 2, 2}), ShapeError);
    EXPECT_THROW(top_n_of_m(Tensor::from<float>({1, 2, 3, 4}, {4}, device), sparse, 3, 2), ValueError);
  }
}

}  // namespace
}  // namespace lacuna
