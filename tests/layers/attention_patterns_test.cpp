// Attention patterns: their definitions, the paper's counts, files.
#include "layers/attention_patterns.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>

#include "core/errors.h"

namespace lacuna {
namespace {

void expect_pattern(const TopologyPtr& pattern, const std::function<bool(std::int64_t, std::int64_t)>& present) {
  const auto offsets = pattern->row_offsets().to_vector<std::int32_t>();
  const auto columns = pattern->col_indices().to_vector<std::int32_t>();
  for (std::int64_t i = 0; i < pattern->rows(); ++i) {
    std::vector<std::int32_t> expected;
    for (std::int64_t j = 0; j <= i; ++j) {
      if (present(i, j)) expected.push_back(static_cast<std::int32_t>(j));
    }
    EXPECT_EQ(std::vector<std::int32_t>(columns.begin() + offsets[static_cast<std::size_t>(i)],
                                        columns.begin() + offsets[static_cast<std::size_t>(i) + 1]),
              expected)
        << "row " << i;
  }
}

TEST(AttentionPatterns, CausalBand) {
  expect_pattern(causal_band(9, 3), [](auto i, auto j) { return i - j < 3; });
  expect_pattern(causal_band(1, 1), [](auto, auto) { return true; });
  expect_pattern(full_causal(6), [](auto, auto) { return true; });
  EXPECT_TRUE(causal_band(6, 100)->same_pattern(*full_causal(6)));
  EXPECT_THROW(causal_band(0, 1), ValueError);
  EXPECT_THROW(causal_band(4, 0), ValueError);
  EXPECT_THROW(full_causal(70000), IndexError);  // 2.45e9 entries
}

TEST(AttentionPatterns, Strided) {
  expect_pattern(strided(13, 4, 2), [](auto i, auto j) { return i - j < 2 || (i - j) % 4 == 0; });
  expect_pattern(strided(13, 3, 5), [](auto i, auto j) { return i - j < 5 || (i - j) % 3 == 0; });
  EXPECT_THROW(strided(4, 0, 1), ValueError);
}

TEST(AttentionPatterns, PaperCounts) {
  // 12,288 tokens, band 256, 95 % off-band sparsity: 6.73 M entries, 8.9 % of the causal half (Gale et al.).
  const auto start = std::chrono::steady_clock::now();
  const TopologyPtr pattern = band_and_random(12288, 256, 0.95, {7, 1});
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_NEAR(static_cast<double>(pattern->nnz()), 6.7326e6, 1e4);  // one deviation is about 1,700
  EXPECT_NEAR(static_cast<double>(pattern->nnz()) / (12288.0 * 12289 / 2), 0.0892, 2e-4);
  EXPECT_LT(seconds, 5.0);
  std::printf("band_and_random(12288): %lld entries in %.3f s\n", static_cast<long long>(pattern->nnz()), seconds);
  EXPECT_NEAR(random_attention_scale(12288, 256, 0.95), 101.784, 1e-3);
}

TEST(AttentionPatterns, RandomEntriesFollowInverseDistance) {
  constexpr std::int64_t t = 3000, band = 64;
  const TopologyPtr pattern = band_and_random(t, band, 0.9, {3, 5});
  const double c = random_attention_scale(t, band, 0.9);
  const auto offsets = pattern->row_offsets().to_vector<std::int32_t>();
  const auto columns = pattern->col_indices().to_vector<std::int32_t>();
  std::vector<double> found(t, 0.0);
  for (std::int64_t i = 0; i < t; ++i) {
    for (auto e = offsets[static_cast<std::size_t>(i)]; e < offsets[static_cast<std::size_t>(i) + 1]; ++e) {
      const std::int64_t d = i - columns[static_cast<std::size_t>(e)];
      ASSERT_GE(d, 0);
      found[static_cast<std::size_t>(d)] += 1;
    }
  }
  for (std::int64_t d = 0; d < band; ++d) EXPECT_EQ(found[static_cast<std::size_t>(d)], static_cast<double>(t - d));
  double all_expected = 0;
  for (std::int64_t begin = band; begin < t; begin = begin * 3 / 2) {
    double expected = 0, variance = 0, count = 0;
    for (std::int64_t d = begin; d < std::min(t, begin * 3 / 2); ++d) {
      const double p = std::min(1.0, c / static_cast<double>(d));
      expected += p * static_cast<double>(t - d);
      variance += p * (1 - p) * static_cast<double>(t - d);
      count += found[static_cast<std::size_t>(d)];
    }
    EXPECT_NEAR(count, expected, 4.5 * std::sqrt(variance) + 1e-9) << "distances from " << begin;
    all_expected += expected;
  }
  EXPECT_NEAR(all_expected, 0.1 * (t - band) * (t - band + 1) / 2.0, 1e-3);
}

TEST(AttentionPatterns, RandomIsAFunctionOfItsKey) {
  const TopologyPtr a = band_and_random(200, 8, 0.9, {3, 5});
  EXPECT_TRUE(a->same_pattern(*band_and_random(200, 8, 0.9, {3, 5})));
  EXPECT_FALSE(a->same_pattern(*band_and_random(200, 8, 0.9, {3, 6})));
  EXPECT_FALSE(a->same_pattern(*band_and_random(200, 8, 0.9, {4, 5})));
}

TEST(AttentionPatterns, RandomAtItsEnds) {
  EXPECT_TRUE(band_and_random(50, 5, 1.0, {1, 1})->same_pattern(*causal_band(50, 5)));
  EXPECT_TRUE(band_and_random(50, 5, 0.0, {1, 1})->same_pattern(*full_causal(50)));
  EXPECT_TRUE(band_and_random(50, 80, 0.5, {1, 1})->same_pattern(*full_causal(50)));
  // Half of a short triangle: the near distances are certain (c beyond the band), and the count still fits.
  const double c = random_attention_scale(400, 4, 0.5);
  EXPECT_GT(c, 5);
  EXPECT_NEAR(static_cast<double>(band_and_random(400, 4, 0.5, {1, 1})->nnz()), 4 * 400 - 6 + 0.5 * 396 * 397 / 2, 600);
  EXPECT_THROW(band_and_random(50, 5, 1.5, {1, 1}), ValueError);
  EXPECT_THROW(band_and_random(50, 5, std::nan(""), {1, 1}), ValueError);
}

class PatternFile : public ::testing::Test {
 protected:
  std::string write(const std::string& text) {
    path_ =
        (std::filesystem::temp_directory_path() /
         ("lacuna_pattern_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()) + ".smtx"))
            .string();
    std::ofstream(path_, std::ios::binary) << text;
    return path_;
  }
  void TearDown() override {
    if (!path_.empty()) std::filesystem::remove(path_);
  }
  std::string path_;
};

TEST_F(PatternFile, Reads) {
  for (const std::string text :
       {"3, 3, 5\n0 1 3 5\n0 0 1 0 2\n", "3,3,5\n0,1,3,5\n0,0,1,0,2", "3, 3, 5 \r\n0 1 3 5 \r\n0 0 1 0 2 \r\n\r\n"}) {
    const TopologyPtr pattern = attention_from_file(write(text), 3);
    expect_pattern(pattern, [](auto i, auto j) { return !(i == 2 && j == 1); });
  }
}

TEST_F(PatternFile, RefusesWhatIsBroken) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"", "line 1"},
      {"3, 3\n0 1 3 5\n0 0 1 0 2\n", "nonzeros"},
      {"4, 4, 5\n0 1 3 5\n0 0 1 0 2\n", "sequence length"},
      {"3, 4, 5\n0 1 3 5\n0 0 1 0 2\n", "sequence length"},
      {"3, 3, -5\n0 1 3 5\n0 0 1 0 2\n", "nonzeros"},
      {"3, 3, 99999999999999999999\n0 1 3 5\n", "64 bits"},
      {"3, 3, 1000000000\n0 1 3 5\n0 0 1 0 2\n", "more than the file holds"},
      {"3, 3, 5 7\n0 1 3 5\n0 0 1 0 2\n", "more numbers"},
      {"3, 3, 5\n1 1 3 5\n0 0 1 0 2\n", "must be 0"},
      {"3, 3, 5\n0 1 1 5\n0 0 1 0 2\n", "row 1 is empty"},
      {"3, 3, 5\n0 3 1 5\n0 0 1 0 2\n", "backwards"},
      {"3, 3, 5\n0 1 3 4\n0 0 1 0\n", "last row offset"},
      {"3, 3, 5\n0 1 3 9\n0 0 1 0 2\n", "row offset 9"},
      {"3, 3, 5\n0 1 3\n0 0 1 0 2\n", "line 2"},
      {"3, 3, 5\n0 1 3 5 6\n0 0 1 0 2\n", "more numbers"},
      {"3, 3, 5\n0 1 3 5\n0 1 0 0 2\n", "ascend"},
      {"3, 3, 5\n0 1 3 5\n0 0 2 0 2\n", "after its query"},
      {"3, 3, 5\n0 1 3 5\n0 0 1 0 3\n", "after its query"},
      {"3, 3, 5\n0 1 3 5\n0 0 1 -1 2\n", "ascend"},
      {"3, 3, 5\n0 1 3 5\n0 0 1 0\n", "line 3"},
      {"3, 3, 5\n0 1 3 5\n0 0 1 0 2 2\n", "more numbers"},
      {"3, 3, 5\n0 1 3 5\n0 0 1 0 2\n7\n", "end of the file"},
      {"3, 3, 5\n0 1 3 5\n0 0 1.5 0 2\n", "'.'"},
      {"%%MatrixMarket\n", "'%'"},
      {std::string("\x00\x01\x02\x03", 4), "\\x00"},
  };
  for (const auto& [text, part] : cases) {
    const std::string path = write(text);
    try {
      attention_from_file(path, 3);
      ADD_FAILURE() << "accepted: " << text;
    } catch (const DataError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(part), std::string::npos) << message << "\nfor: " << text;
      EXPECT_NE(message.find(path), std::string::npos) << message;
    }
  }
  EXPECT_THROW(attention_from_file("/nonexistent.smtx", 3), DataError);
  EXPECT_THROW(attention_from_file(std::filesystem::temp_directory_path().string(), 3), DataError);
}

}  // namespace
}  // namespace lacuna
