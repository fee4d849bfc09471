// How SDDMM's tensor-core tiles are cut: a model of their time, fitted to measurements.
#include <algorithm>
#include <initializer_list>
#include <limits>

#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

namespace {

/// Seconds. split_tf32: fitted on one H200 (132 multiprocessors, 2026-11-23) to 245 timings from 64 x 64 to 4096 x 4096
/// (k 52 to 12544) within 4 % (root mean square). The others: on one H100 (2026-11-24) to 94 from 1024 x 1024 to 8192 x 8192
/// (k 512 to 12288) within 6 %, most of which is the clock, which moves by 12 % under the power limit.
struct TileTimes {
  double start;               // the launch, and the ring's first filling
  double item;                // a work item besides its pieces: the drained pipe, the sampling's fixed part
  double piece;               // 128 bytes along k: at 80-90 % of the tensor cores' rate for this arithmetic
  double entry;               // sampling one entry of a tile
  double turned = 0;          // a piece's more for each operand that is stored transposed
  double add_start = 0.5e-6;  // the kernel that adds the parts; its launch overlaps the tiles' end
  double add_bandwidth = 3e12;
};

TileTimes times_of(SddmmMath math, int tile_cols, bool masked) {
  if (math == SddmmMath::split_tf32) return {5e-6, 2e-6, 1.06e-6, 0.5e-9};
  if (tile_cols == 256) {
    return masked ? TileTimes{4e-6, 3.1e-6, 0.7e-6, 0.08e-9} : TileTimes{4e-6, 1.9e-6, 0.7e-6, 0.47e-9};
  }
  return masked ? TileTimes{4e-6, 1.5e-6, 0.39e-6, 0.1e-9, 0.033e-6}
                : TileTimes{4e-6, 0.5e-6, 0.39e-6, 0.8e-9, 0.033e-6};
}

constexpr int kTileRows = 128, kMostSplits = 64;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace

SddmmTiling choose_sddmm_tiling(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t nnz, std::int64_t batch,
                                int multiprocessors, SddmmMath math, double* seconds, const SddmmStorage& storage) {
  const std::int64_t pieces = ceil_div(k, math == SddmmMath::bf16 || math == SddmmMath::half ? 64 : 32);
  const double share = static_cast<double>(nnz) / (static_cast<double>(m) * static_cast<double>(n));
  const bool has_masks = sddmm_plan_has_masks(m, n, nnz);
  SddmmTiling best;
  double least = std::numeric_limits<double>::max();
  for (const int cols : {256, 128}) {
    if (cols == 256 && math == SddmmMath::split_tf32) continue;
    const std::int64_t tiles = ceil_div(m, kTileRows) * ceil_div(n, cols) * batch;
    for (int splits = 1; splits <= kMostSplits && splits <= pieces; ++splits) {
      const TileTimes t = times_of(math, cols, sddmm_samples_by_masks(math, cols, has_masks, pieces / splits));
      const double piece = t.piece + t.turned * (int{storage.transpose_a} + int{storage.transpose_b});
      // Each block takes one item after another: time goes by whole rounds of them.
      const auto rounds = static_cast<double>(ceil_div(tiles * splits, multiprocessors));
      const double item = t.item + static_cast<double>(ceil_div(pieces, splits)) * piece +
                          t.entry * std::min(share * kTileRows * cols, static_cast<double>(nnz));
      double time = t.start + rounds * item;
      if (splits > 1)
        time += t.add_start + static_cast<double>(nnz * batch * splits) * 2 * sizeof(float) / t.add_bandwidth;
      if (time < least) least = time, best = {cols, splits};
    }
  }
  if (seconds) *seconds = least;
  return best;
}

}  // namespace lacuna::kernels
