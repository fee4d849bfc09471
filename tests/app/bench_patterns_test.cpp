// Generated patterns, the DLMC's columns, and the statistics over measurements.
#include <gtest/gtest.h>

#include <cmath>

#include "app/bench/dlmc.h"
#include "app/bench/patterns.h"
#include "app/bench/statistics.h"
#include "app/bench/suites.h"
#include "core/errors.h"

namespace lacuna::bench {
namespace {

std::vector<std::int32_t> columns(const TopologyPtr& t) { return t->col_indices().to_vector<std::int32_t>(); }
std::vector<std::int32_t> offsets(const TopologyPtr& t) { return t->row_offsets().to_vector<std::int32_t>(); }

TEST(BenchPatterns, HoldTheirSparsityExactly) {
  for (const char* text : {"uniform", "cov:0.3", "cov:1", "power_law", "power_law:1.2"}) {
    for (const double sparsity : {0.0, 0.5, 0.9, 0.98, 1.0}) {
      const TopologyPtr t = generate_pattern(parse_pattern(text), 301, 257, sparsity, 3);
      EXPECT_EQ(t->nnz(), std::llround((1 - sparsity) * 301 * 257)) << text << " at " << sparsity;
    }
  }
}

TEST(BenchPatterns, AreAFunctionOfTheirArguments) {
  for (const char* text : {"uniform", "cov:0.3", "banded", "power_law"}) {
    const TopologyPtr a = generate_pattern(parse_pattern(text), 200, 300, 0.9, 5);
    const TopologyPtr b = generate_pattern(parse_pattern(text), 200, 300, 0.9, 5);
    EXPECT_TRUE(a->same_pattern(*b)) << text;
    if (std::string(text) == "banded") continue;  // nothing is drawn
    EXPECT_FALSE(a->same_pattern(*generate_pattern(parse_pattern(text), 200, 300, 0.9, 6))) << text;
  }
}

TEST(BenchPatterns, RowsVaryAsAsked) {
  const auto cov = [](const char* text, double sparsity) {
    return row_length_cov(*generate_pattern(parse_pattern(text), 2048, 2048, sparsity, 1));
  };
  EXPECT_NEAR(cov("cov:0.3", 0.9), 0.3, 0.03);
  EXPECT_NEAR(cov("cov:0", 0.9), 0, 0.01);
  EXPECT_NEAR(cov("cov:1", 0.98), 1, 0.15);
  EXPECT_NEAR(cov("uniform", 0.9), std::sqrt(0.9 / (0.1 * 2048)), 0.01);  // binomial
  EXPECT_EQ(cov("banded", 0.9), 0);
  EXPECT_GT(cov("power_law:0.7", 0.9), 0.8);
}

TEST(BenchPatterns, UniformColumnsAreUniform) {
  const TopologyPtr t = generate_pattern({PatternKind::uniform, 0}, 4096, 64, 0.5, 2);
  std::vector<int> counts(64);
  for (const std::int32_t c : columns(t)) ++counts[static_cast<std::size_t>(c)];
  for (const int count : counts) EXPECT_NEAR(count, 2048, 200);  // 6 deviations
}

TEST(BenchPatterns, BandsRunAlongTheDiagonal) {
  const TopologyPtr t = generate_pattern({PatternKind::banded, 0}, 100, 50, 0.9, 0);
  const auto begin = offsets(t), column = columns(t);
  for (std::size_t r = 0; r < 100; ++r) {
    ASSERT_EQ(begin[r + 1] - begin[r], 5);
    for (std::int32_t e = begin[r]; e < begin[r + 1]; ++e) {
      EXPECT_EQ(column[static_cast<std::size_t>(e)], column[static_cast<std::size_t>(begin[r])] + e - begin[r]);
      EXPECT_NEAR(column[static_cast<std::size_t>(e)], 0.5 * static_cast<double>(r), 5);
    }
  }
}

TEST(BenchPatterns, HardShapes) {
  for (const char* text : {"uniform", "cov:0.5", "banded", "power_law"}) {
    EXPECT_EQ(generate_pattern(parse_pattern(text), 1, 1, 0, 0)->nnz(), 1) << text;
    EXPECT_EQ(generate_pattern(parse_pattern(text), 0, 7, 0.5, 0)->nnz(), 0) << text;
    EXPECT_EQ(generate_pattern(parse_pattern(text), 5, 64, 0, 0)->nnz(), 320) << text;
    EXPECT_EQ(generate_pattern(parse_pattern(text), 5, 65, 1, 0)->nnz(), 0) << text;
  }
  EXPECT_THROW(generate_pattern({}, 1 << 20, 1 << 20, 0.5, 0), ValueError);
  EXPECT_THROW(generate_pattern({}, 10, 10, 1.5, 0), ValueError);
  EXPECT_THROW(generate_pattern({}, 10, 10, std::nan(""), 0), ValueError);
}

TEST(BenchPatterns, ParseRefusesWhatIsUnknown) {
  EXPECT_EQ(to_string(parse_pattern("cov:0.25")), "cov:0.25");
  EXPECT_EQ(to_string(parse_pattern("power_law")), "power_law:0.7");
  for (const char* text :
       {"", "unifrom", "uniform:1", "cov:", "cov:x", "cov:-1", "cov:0.3x", "banded:2", "power_law:nan"})
    EXPECT_THROW(parse_pattern(text), ConfigError) << text;
}

TEST(BenchPatterns, LengthsKeepTheTotalAndTheLimit) {
  const auto lengths = proportional_lengths({100, 1, 1, 0, 1}, 23, 10);
  EXPECT_EQ(lengths[0], 10);
  EXPECT_EQ(lengths[0] + lengths[1] + lengths[2] + lengths[3] + lengths[4], 23);
  EXPECT_TRUE(proportional_lengths({}, 0, 10).empty());
}

TEST(BenchDlmc, ColumnsAreThePapers) {
  using N = std::vector<std::int64_t>;
  const auto rn50 = [](const char* layer) { return paper_columns("rn50", layer); };
  EXPECT_EQ(paper_columns("transformer", "body_decoder_layer_0_ffn_conv2"), (N{256, 2048}));
  EXPECT_EQ(rn50("initial_conv"), N{12544});
  EXPECT_EQ(rn50("bottleneck_1_block_group1_2_1"), N{3136});
  EXPECT_EQ(rn50("bottleneck_2_block_group2_3_1"), N{784});
  EXPECT_EQ(rn50("bottleneck_3_block_group3_5_1"), N{196});
  EXPECT_EQ(rn50("bottleneck_3_block_group4_1_1"), N{49});
  EXPECT_EQ(rn50("bottleneck_1_block_group_projection_block_group1"), N{3136});  // no stride in group 1
  EXPECT_EQ(rn50("bottleneck_1_block_group_projection_block_group2"), N{3136});  // before the stride
  EXPECT_EQ(rn50("bottleneck_2_block_group_projection_block_group2"), N{784});
  EXPECT_EQ(rn50("bottleneck_3_block_group_projection_block_group4"), N{49});
  EXPECT_EQ(rn50("bottleneck_projection_block_group_projection_block_group3"), N{196});
  EXPECT_EQ(rn50("final_dense"), N{49});
  for (const char* layer : {"", "conv", "bottleneck_1", "bottleneck_1_block_group", "bottleneck_1_block_group7_1_1"})
    EXPECT_EQ(rn50(layer), N{}) << layer;
  EXPECT_EQ(paper_columns("smtx", "initial_conv"), N{});
}

TEST(BenchStatistics, Quantiles) {
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2);
  EXPECT_EQ(quantile({4, 1, 2, 3}, 0.5), 2.5);
  EXPECT_EQ(quantile({1, 2}, 0), 1);
  EXPECT_EQ(quantile({1, 2}, 1), 2);
  EXPECT_NEAR(quantile({0, 10}, 0.1), 1, 1e-12);
  EXPECT_EQ(quantile({7}, 0.9), 7);
  EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
}

TEST(BenchStatistics, Means) {
  EXPECT_NEAR(geometric_mean({0.5, 2}), 1, 1e-12);
  EXPECT_NEAR(geometric_mean({1, 10, 100}), 10, 1e-12);
  EXPECT_TRUE(std::isnan(geometric_mean({})));
  EXPECT_NEAR(coefficient_of_variation({1, 3}), 0.5, 1e-12);
  EXPECT_EQ(coefficient_of_variation({0, 0}), 0);
  EXPECT_EQ(coefficient_of_variation({}), 0);
}

TEST(BenchStatistics, Crossing) {
  EXPECT_NEAR(crosses_one({0.5, 0.7, 0.9}, {0.25, 0.5, 2}), 0.8, 1e-12);
  EXPECT_EQ(crosses_one({0.5, 0.7}, {1.2, 3}), 0.5);
  EXPECT_TRUE(std::isnan(crosses_one({0.5, 0.7}, {0.2, 0.9})));
  EXPECT_TRUE(std::isnan(crosses_one({}, {})));
}

TEST(BenchSuites, FilterTakesParts) {
  EXPECT_TRUE(matches("", "anything"));
  EXPECT_TRUE(matches("x,spmm/", "spmm/f32/a n=1"));
  EXPECT_FALSE(matches("x,y", "spmm"));
  EXPECT_FALSE(matches(",", "spmm"));
}

TEST(BenchSuites, PlansRefuseWhatDoesNotFit) {
  const auto plan = [](auto change) {
    Options options;
    change(options);
    return plan_cases(options, kCpu);
  };
  EXPECT_THROW(plan([](Options&) {}), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.suite = "all"; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.suite = "quick", o.ops = {"spmv"}; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.suite = "quick", o.dtypes = {"tf32"}; }), ConfigError);  // on the CPU
  EXPECT_THROW(plan([](Options& o) { o.suite = "quick", o.k = {4}; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.suite = "quick", o.filter = "nothing has this name"; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.m = {0}; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.m = {64}, o.sparsity = {90}; }), ConfigError);
  EXPECT_THROW(plan([](Options& o) { o.smtx = {"no/such/folder"}; }), DataError);
  EXPECT_EQ(plan([](Options& o) {
              o.m = {64, 128}, o.sparsity = {0.5, 0.9}, o.patterns = {"uniform", "banded"};
            }).size(),
            8u);
  EXPECT_EQ(plan([](Options& o) { o.suite = "rnn", o.quick = true; }).size(), 16u);
  EXPECT_EQ(plan([](Options& o) { o.suite = "rnn"; }).size(), 18u);
}

}  // namespace
}  // namespace lacuna::bench
