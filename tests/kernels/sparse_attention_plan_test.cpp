// The packed plan of the fused attention kernels against its pattern. All on CUDA: skipped, visibly, without a device.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>

#include "tests/kernels/sparse_attention_plans.h"

namespace lacuna::kernels {
namespace {

#if LACUNA_HAS_CUDA

TEST(PanelPlanOnCuda, HoldsEachEntryOnce) {
  const std::string reason = cuda_unavailable_reason();
  if (!reason.empty()) GTEST_SKIP() << "no CUDA device: " << reason;
  for (const std::int64_t window : {64, 128}) {
    for (const Pattern& p : {random_pattern(333, 0.1, 1), band_pattern(300, 90), random_pattern(129, 0.9, 2)}) {
      const Plan plan = make_plan({DeviceType::cuda, 0}, p, window);
      const auto first = plan.tile_offsets.to_vector<std::int32_t>();
      const auto words = plan.slots.to_vector<std::int32_t>();
      const std::int64_t panels = (p.t + kPanelRows - 1) / kPanelRows;
      std::size_t entries = 0;
      for (std::size_t at = 0; at + 1 < first.size(); ++at) {
        const auto panel = static_cast<std::int64_t>(at) % panels, w = static_cast<std::int64_t>(at) / panels;
        std::vector<bool> seen(static_cast<std::size_t>(window));
        for (auto s = static_cast<std::size_t>(first[at]) * kTileSlots;
             s < static_cast<std::size_t>(first[at + 1]) * kTileSlots; ++s) {
          const auto word = static_cast<std::uint32_t>(words[s]);
          const std::uint32_t c = word & 0xffff;
          ASSERT_LT(c, window);
          if (word >> 16 == 0) continue;  // padding
          ASSERT_FALSE(seen[c]);
          seen[c] = true;
          for (int r = 0; r < kPanelRows; ++r) {
            if (!(word >> (16 + r) & 1)) continue;
            const std::int64_t row = panel * kPanelRows + r;
            ASSERT_LT(row, p.t);
            ASSERT_TRUE(std::binary_search(p.columns.begin() + p.offsets[static_cast<std::size_t>(row)],
                                           p.columns.begin() + p.offsets[static_cast<std::size_t>(row) + 1],
                                           static_cast<std::int32_t>(w * window + c)));
            ++entries;
          }
        }
      }
      EXPECT_EQ(entries, p.columns.size());
    }
  }
}

TEST(SparseAttentionScratch, KeepsScoresUpToALimit) {
  const auto bytes = [](auto zero, std::int64_t t, std::int64_t d) {
    const AttentionProblem problem{.matrices = 2, .matrices_per_pattern = 2, .t = t, .d = d, .causal = true};
    return static_cast<std::int64_t>(
        sparse_attention_backward_scratch_bytes<decltype(zero)>(CudaStream{}, problem, {}));
  };
  EXPECT_EQ(bytes(Bf16{}, 1024, 128), 2 * (1024 * 16 + 36 * 32768));  // 8 blocks of 128: 36 cells of dS
  EXPECT_EQ(bytes(Bf16{}, 1024, 64), 2 * 1024 * 16);
  EXPECT_EQ(bytes(0.0F, 1024, 128), 2 * 1024 * 16);
  EXPECT_EQ(bytes(Bf16{}, 1 << 20, 128), 2 * (std::int64_t{16} << 20));
}

TEST(PanelPlanOnCuda, TransposeTakesTheSameCells) {
  const std::string reason = cuda_unavailable_reason();
  if (!reason.empty()) GTEST_SKIP() << "no CUDA device: " << reason;
  for (const int min_tiles : {1, 30, 60}) {
    for (const Pattern& p : {random_pattern(333, 0.1, 1), band_pattern(700, 90), random_pattern(129, 0.9, 2),
                             pattern_of(300, [](std::int64_t, std::int64_t) { return false; }),
                             pattern_of(1, [](std::int64_t, std::int64_t) { return true; })}) {
      const Device device{DeviceType::cuda, 0};
      const Plan rows = make_plan(device, p, 128, min_tiles);
      const PanelPlan view = rows.view();
      const Plan columns = make_plan(device, transpose(p), 128, min_tiles, &view);
      const auto row_cells = rows.cell_offsets.to_vector<std::int32_t>(),
                 column_cells = columns.cell_offsets.to_vector<std::int32_t>(),
                 row_windows = rows.cell_windows.to_vector<std::int32_t>(),
                 column_windows = columns.cell_windows.to_vector<std::int32_t>(),
                 places = columns.cell_places.to_vector<std::int32_t>();
      ASSERT_EQ(row_windows.size(), column_windows.size());
      for (std::size_t b = 0; b + 1 < row_cells.size(); ++b) {
        for (auto at = static_cast<std::size_t>(row_cells[b]); at < static_cast<std::size_t>(row_cells[b + 1]); ++at) {
          const auto column = static_cast<std::size_t>(row_windows[at]);
          ASSERT_GE(places[at], column_cells[column]);
          ASSERT_LT(places[at], column_cells[column + 1]);
          ASSERT_EQ(column_windows[static_cast<std::size_t>(places[at])], static_cast<std::int32_t>(b));
        }
      }
      std::size_t in_tiles = 0, in_cells = 0;
      for (const std::int32_t word : columns.slots.to_vector<std::int32_t>())
        in_tiles += static_cast<std::size_t>(std::popcount(static_cast<std::uint32_t>(word) >> 16));
      for (const std::int32_t word : columns.cell_bits.to_vector<std::int32_t>())
        in_cells += static_cast<std::size_t>(std::popcount(static_cast<std::uint32_t>(word)));
      EXPECT_EQ(in_tiles + in_cells, p.columns.size());
    }
  }
}

TEST(PanelPlanOnCuda, HoldsEachEntryInACellOrATile) {
  const std::string reason = cuda_unavailable_reason();
  if (!reason.empty()) GTEST_SKIP() << "no CUDA device: " << reason;
  const std::int64_t window = 128;
  for (const int min_tiles : {1, 30, 60}) {
    for (const Pattern& p : {random_pattern(333, 0.1, 1), band_pattern(700, 90), random_pattern(129, 0.9, 2),
                             pattern_of(300, [](std::int64_t, std::int64_t) { return false; })}) {
      const Plan plan = make_plan({DeviceType::cuda, 0}, p, window, min_tiles);
      const auto first = plan.tile_offsets.to_vector<std::int32_t>(),
                 cells = plan.cell_offsets.to_vector<std::int32_t>();
      const auto windows = plan.cell_windows.to_vector<std::int32_t>(), bits = plan.cell_bits.to_vector<std::int32_t>();
      auto order = plan.cell_order.to_vector<std::int32_t>();
      const std::int64_t panels = (p.t + kPanelRows - 1) / kPanelRows;
      std::size_t in_tiles = 0, in_cells = 0;
      for (const std::int32_t word : plan.slots.to_vector<std::int32_t>())
        in_tiles += static_cast<std::size_t>(std::popcount(static_cast<std::uint32_t>(word) >> 16));
      for (std::size_t b = 0; b + 1 < cells.size(); ++b) {
        for (auto at = static_cast<std::size_t>(cells[b]); at < static_cast<std::size_t>(cells[b + 1]); ++at) {
          const std::int64_t w = windows[at];
          if (at > static_cast<std::size_t>(cells[b])) {
            ASSERT_GT(w, windows[at - 1]);
          }
          for (std::int64_t panel = static_cast<std::int64_t>(b) * 8;
               panel < std::min<std::int64_t>(panels, static_cast<std::int64_t>(b) * 8 + 8); ++panel)
            ASSERT_EQ(first[static_cast<std::size_t>(w * panels + panel)],
                      first[static_cast<std::size_t>(w * panels + panel + 1)]);
          for (std::size_t i = 0; i < 16384; ++i) {
            const std::size_t thread = i / 64, e = i % 64;
            if (!(static_cast<std::uint32_t>(bits[at * 512 + thread * 2 + e / 32]) >> e % 32 & 1)) continue;
            const std::size_t row = b * 128 + thread / 32 * 16 + thread % 32 / 4 + e / 2 % 2 * 8;
            const std::size_t column = static_cast<std::size_t>(w) * 128 + e / 4 * 8 + thread % 4 * 2 + e % 2;
            ASSERT_LT(row, static_cast<std::size_t>(p.t));
            ASSERT_TRUE(std::binary_search(p.columns.begin() + p.offsets[row], p.columns.begin() + p.offsets[row + 1],
                                           static_cast<std::int32_t>(column)));
            ++in_cells;
          }
        }
      }
      EXPECT_EQ(in_tiles + in_cells, p.columns.size());
      if (min_tiles == 1) {
        EXPECT_EQ(in_tiles, 0U);
      }
      for (std::size_t b = 0; b + 1 < order.size(); ++b) {
        const auto size = [&](std::size_t at) {
          return cells[static_cast<std::size_t>(order[at]) + 1] - cells[static_cast<std::size_t>(order[at])];
        };
        EXPECT_GE(size(b), size(b + 1));
      }
      std::sort(order.begin(), order.end());
      for (std::size_t b = 0; b < order.size(); ++b) EXPECT_EQ(order[b], static_cast<std::int32_t>(b));
    }
  }
}

#else

TEST(PanelPlanOnCuda, NeedsCuda) { GTEST_SKIP() << "built without CUDA"; }

#endif

}  // namespace
}  // namespace lacuna::kernels
