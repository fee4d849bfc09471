// Statistics of patterns made by hand.
#include "train/sparsity_stats.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/errors.h"

namespace lacuna {
namespace {

HostPattern pattern(std::int64_t cols, const std::vector<std::vector<std::int32_t>>& rows) {
  HostPattern p{static_cast<std::int64_t>(rows.size()), cols, {0}, {}};
  for (const auto& row : rows) {
    p.col_indices.insert(p.col_indices.end(), row.begin(), row.end());
    p.row_offsets.push_back(static_cast<std::int32_t>(p.col_indices.size()));
  }
  return p;
}

TEST(SparsityStats, ChurnCountsWhatWentAndWhatCame) {
  const HostPattern a = pattern(4, {{0, 2}, {}, {1, 2, 3}});
  const HostPattern b = pattern(4, {{2, 3}, {0}, {1, 3}});
  EXPECT_EQ(churn(a, b).dropped, 2);  // (0,0), (2,2)
  EXPECT_EQ(churn(a, b).grown, 2);    // (0,3), (1,0)
  EXPECT_EQ(churn(b, a).dropped, 2);
  EXPECT_EQ(churn(a, a).dropped + churn(a, a).grown, 0);
  const HostPattern full = full_pattern(3, 4);
  EXPECT_EQ(churn(full, a).dropped, 7);
  EXPECT_EQ(churn(full, a).grown, 0);
  EXPECT_EQ(churn(a, full).grown, 7);
  EXPECT_EQ(churn(full, full).dropped, 0);
  EXPECT_EQ(churn(pattern(4, {{}, {}, {}}), a).grown, 5);
  EXPECT_THROW(churn(a, full_pattern(4, 3)), ShapeError);
}

TEST(SparsityStats, KeptEntriesAreMarkedInTheirOrder) {
  const HostPattern a = pattern(4, {{0, 2}, {}, {1, 2, 3}});
  const HostPattern b = pattern(4, {{2, 3}, {0}, {1, 3}});
  EXPECT_EQ(kept_entries_mask(a, b), (std::vector<std::uint8_t>{0, 1, 1, 0, 1}));
  EXPECT_EQ(kept_entries_mask(full_pattern(3, 4), b), (std::vector<std::uint8_t>{0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1}));
  EXPECT_EQ(kept_entries_mask(b, full_pattern(3, 4)), std::vector<std::uint8_t>(5, 1));
}

TEST(SparsityStats, EmptyRowsAndColumns) {
  const EmptyLines lines = empty_lines(pattern(5, {{0, 2}, {}, {2}, {}}));
  EXPECT_EQ(lines.rows, 2);
  EXPECT_EQ(lines.columns, 3);  // 1, 3, 4
  EXPECT_EQ(empty_lines(full_pattern(3, 4)).rows + empty_lines(full_pattern(3, 4)).columns, 0);
  EXPECT_EQ(empty_lines(pattern(3, {{}, {}})).columns, 3);
}

TEST(SparsityStats, EverActiveIsAUnion) {
  EntrySet ever(3, 4);
  EXPECT_EQ(ever.count(), 0);
  ever.add(pattern(4, {{0, 2}, {}, {1, 2, 3}}));
  EXPECT_EQ(ever.count(), 5);
  ever.add(pattern(4, {{2, 3}, {0}, {1, 3}}));
  EXPECT_EQ(ever.count(), 7);
  EXPECT_DOUBLE_EQ(ever.share(), 7.0 / 12);
  EntrySet loaded(3, 4);
  loaded.assign(ever.to_tensor());
  EXPECT_EQ(loaded.count(), 7);
  loaded.add(full_pattern(3, 4));
  EXPECT_DOUBLE_EQ(loaded.share(), 1.0);
  EntrySet again(3, 4);
  again.assign(loaded.to_tensor());
  EXPECT_EQ(again.count(), 12);
  EXPECT_THROW(ever.add(full_pattern(4, 3)), ShapeError);
}

TEST(SparsityStats, RefusesBitsOfAnotherShape) {
  EntrySet ever(3, 4);
  EXPECT_THROW(ever.assign(Tensor::zeros({3}, DType::u8)), CheckpointError);
  EXPECT_THROW(ever.assign(Tensor::zeros({2}, DType::i32)), CheckpointError);
  EXPECT_THROW(ever.assign(Tensor::from<std::uint8_t>({0, 0x10}, {2})), CheckpointError);  // the thirteenth of twelve
  ever.assign(Tensor::from<std::uint8_t>({1, 0x08}, {2}));
  EXPECT_EQ(ever.count(), 2);
}

// Against sets of pairs, on random patterns.
TEST(SparsityStats, AgreeWithMasks) {
  std::mt19937 random(7);
  for (int trial = 0; trial < 50; ++trial) {
    const std::int64_t rows = 1 + random() % 9, cols = 1 + random() % 70;
    std::vector<int> x(rows * cols), y(rows * cols);
    const auto draw = [&](std::vector<int>& mask) {
      std::vector<std::vector<std::int32_t>> lines(rows);
      for (std::int64_t i = 0; i < rows * cols; ++i)
        if ((mask[i] = random() % 3 == 0)) lines[i / cols].push_back(static_cast<std::int32_t>(i % cols));
      return pattern(cols, lines);
    };
    const HostPattern a = draw(x), b = draw(y);
    std::int64_t dropped = 0, grown = 0, either = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      dropped += x[i] && !y[i];
      grown += y[i] && !x[i];
      either += x[i] || y[i];
    }
    EXPECT_EQ(churn(a, b).dropped, dropped);
    EXPECT_EQ(churn(a, b).grown, grown);
    EntrySet ever(rows, cols);
    ever.add(a);
    ever.add(b);
    EXPECT_EQ(ever.count(), either);
  }
}

double total(const std::vector<double>& counts) {
  double sum = 0;
  for (double c : counts) sum += c;
  return sum;
}

TEST(MagnitudeHistogram, ThresholdSeparatesKeptFromDropped) {
  const MagnitudeHistogram h = magnitude_histogram({-4, 3, -2, 1, 0}, {1, 1, 1, 0, 0});
  EXPECT_DOUBLE_EQ(h.high, 3.75);  // the 99.5th percentile of five is the fourth
  ASSERT_TRUE(h.threshold.has_value());
  EXPECT_DOUBLE_EQ(*h.threshold, 2);
  EXPECT_EQ(total(h.kept), 3);
  EXPECT_EQ(total(h.dropped), 2);
  EXPECT_EQ(h.dropped.front(), 1);
  EXPECT_EQ(h.kept.back(), 1);  // the 4, past the end
}

TEST(MagnitudeHistogram, HasNoThresholdWhereMagnitudeDidNotDecide) {
  EXPECT_FALSE(magnitude_histogram({1, 2, 3}, {1, 0, 1}).threshold.has_value());
  EXPECT_FALSE(magnitude_histogram({1, 2, 3}, {1, 1, 1}).threshold.has_value());
  EXPECT_FALSE(magnitude_histogram({1, 2, 3}, {0, 0, 0}).threshold.has_value());
  EXPECT_FALSE(magnitude_histogram({}, {}).threshold.has_value());
  EXPECT_DOUBLE_EQ(magnitude_histogram({2, 2}, {1, 0}).threshold.value(), 2);  // a tie
}

TEST(MagnitudeHistogram, SurvivesZerosNaNAndOutliers) {
  EXPECT_EQ(total(magnitude_histogram({0, 0, 0}, {1, 0, 0}).dropped), 2);
  EXPECT_EQ(total(magnitude_histogram({NAN, 1}, {1, 1}).kept), 1);
  std::vector<double> values(1000, 1.0);
  values.push_back(1e6);
  const MagnitudeHistogram h = magnitude_histogram(values, std::vector<std::uint8_t>(1001, 1));
  EXPECT_DOUBLE_EQ(h.high, 1.25);
  EXPECT_EQ(total(h.kept), 1001);
  EXPECT_THROW(magnitude_histogram({1, 2}, {1}), ShapeError);
}

}  // namespace
}  // namespace lacuna
