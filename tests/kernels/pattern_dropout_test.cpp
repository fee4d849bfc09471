// Dropout of entries of sparse matrices by place: how often entries are dropped, alone and together.
#include "kernels/dropout/pattern_dropout.h"

#include <gtest/gtest.h>

#include <vector>

namespace lacuna::kernels {
namespace {

TEST(PatternDropout, DropsTheShareAskedForAndNoMorePairsThanChance) {
  const std::int64_t t = 400;
  std::vector<std::int32_t> offsets{0}, columns;  // every place
  for (std::int64_t i = 0; i < t; ++i) {
    for (std::int64_t j = 0; j < t; ++j) columns.push_back(static_cast<std::int32_t>(j));
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
  std::vector<double> ones(columns.size(), 1.0), out(columns.size());
  const Csr<const double> x{.rows = t,
                            .cols = t,
                            .nnz = t * t,
                            .row_offsets = offsets.data(),
                            .col_indices = columns.data(),
                            .values = ones.data(),
                            .values_stride = t * t};
  pattern_dropout<double>(CpuStream{}, x, out.data(), 0.1, 3, 4, 0);
  // Dropped: all; right neighbours both; lower neighbours both; two rows that share words both; the four corners of a
  // rectangle all.
  std::int64_t one = 0, right = 0, below = 0, sharing = 0, corners = 0;
  const auto gone = [&](std::int64_t i, std::int64_t j) { return out[static_cast<std::size_t>(i * t + j)] == 0; };
  for (std::int64_t i = 0; i + 8 < t; ++i) {
    for (std::int64_t j = 0; j + 5 < t; ++j) {
      one += gone(i, j);
      right += gone(i, j) && gone(i, j + 1);
      below += gone(i, j) && gone(i + 1, j);
      sharing += gone(i, j) && gone(i + 8, j);
      corners += gone(i, j) && gone(i + 7, j) && gone(i, j + 5) && gone(i + 7, j + 5);
    }
  }
  const double n = static_cast<double>((t - 8) * (t - 5));
  EXPECT_NEAR(static_cast<double>(one) / n, 0.1, 0.004);
  EXPECT_NEAR(static_cast<double>(right) / n, 0.01, 0.0015);
  EXPECT_NEAR(static_cast<double>(below) / n, 0.01, 0.0015);
  EXPECT_NEAR(static_cast<double>(sharing) / n, 0.01, 0.0015);
  EXPECT_NEAR(static_cast<double>(corners) / n, 0.0001, 0.0001);
}

}  // namespace
}  // namespace lacuna::kernels
