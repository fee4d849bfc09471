#include "kernels/spmm/spmm_plan.h"

#include <algorithm>

namespace lacuna::kernels {

namespace {

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

std::int64_t rows_a_round(const SpmmPlan& plan) { return std::int64_t{plan.warps} * (4 / plan.parts); }

/// Blocks enough for one wave, two a multiprocessor where half its shared memory suffices: a second wave would load its
/// panels while nothing multiplies.
SpmmPlan with_row_blocks(SpmmPlan plan, const SpmmShape& shape) {
  plan.kernel = SpmmKernel::panel;
  const std::int64_t tiles = ceil_div(shape.n, plan.tile) * shape.batch;
  for (int resident = 32 / plan.warps; resident >= 1; --resident) {
    const std::int64_t one_wave =
        std::max<std::int64_t>(std::int64_t{shape.multiprocessors} * resident / (tiles * plan.split), 1);
    plan.row_blocks = static_cast<int>(std::min(one_wave, ceil_div(shape.m, rows_a_round(plan))));
    if (panel_shared_bytes(plan, shape) <= kMaxSharedBytes / resident - 1024) return plan;
  }
  return plan;
}

/// The tiling that measured best for this kind of shape; it may need too much shared memory.
SpmmPlan choose(const SpmmShape& s) {
  const double density = static_cast<double>(s.nnz) / (static_cast<double>(s.m) * static_cast<double>(s.k));
  const std::int64_t narrow = ceil_div(s.n, 32) * s.batch, wide = ceil_div(s.n, 64) * s.batch;
  // Warps a multiprocessor would get with a tile of 32 and a subwarp a row: what there is to hide latency with.
  const double warps = static_cast<double>(s.m) * static_cast<double>(narrow) / 4 / s.multiprocessors;

  // A block of 32 warps with 64 columns halves the traffic for entries, where it gets a full round of 128 rows.
  if (s.vector && s.k > 320 && s.k <= 860 && (density >= 0.03 || s.m >= 1024) && s.m * wide >= 120 * s.multiprocessors)
    return with_row_blocks({.tile = 64, .warps = 32}, s);
  if (s.k <= 1700) {
    if (s.k > 860 && warps > 500) return {};  // many waves of panels that fill a multiprocessor each: L1 does it better
    if (s.k <= 860 && warps >= 20 && warps < 40 && density >= 0.15) return with_row_blocks({.tile = 64, .parts = 2}, s);
    return with_row_blocks({.parts = warps < 4 ? 4 : warps < 12 || (warps >= 20 && warps < 40) ? 2 : 1}, s);
  }
  if (s.k <= 3400) {  // shares of K in pairs of blocks
    if (warps > 100 || (warps > 40 && (density < 0.03 || density > 0.25))) return {};
    return with_row_blocks({.split = 2, .parts = warps < 3 ? 4 : warps < 40 ? 2 : 1}, s);
  }
  if (warps < 12) return with_row_blocks({.split = 4}, s);
  return {};
}

}  // namespace

std::int64_t panel_share(const SpmmPlan& plan, const SpmmShape& shape) { return ceil_div(shape.k, plan.split); }

std::int64_t panel_rounds(const SpmmPlan& plan, const SpmmShape& shape) {
  return ceil_div(shape.m, rows_a_round(plan) * plan.row_blocks);
}

std::int64_t panel_shared_bytes(const SpmmPlan& plan, const SpmmShape& shape) {
  const std::int64_t sums = plan.split > 1 ? panel_rounds(plan, shape) * rows_a_round(plan) : 0;
  return (panel_share(plan, shape) + sums) * plan.tile * 4;
}

bool can_run(const SpmmPlan& plan, const SpmmShape& shape) {
  if (plan.kernel == SpmmKernel::row) return true;
  const auto one_of = [](int x, auto... allowed) { return ((x == allowed) || ...); };
  const bool narrow = plan.warps == 16 && one_of(plan.tile, 32, 64) && one_of(plan.split, 1, 2, 4, 8);
  const bool wide = plan.warps == 32 && plan.tile == 64 && one_of(plan.split, 1, 2, 4) && plan.parts == 1;
  const bool exists = (narrow || (wide && shape.vector)) && one_of(plan.parts, 1, 2, 4) && plan.row_blocks >= 1;
  if (!exists || std::max({shape.m, shape.k, shape.n}) > 0x7fffffff) return false;
  const std::int64_t blocks = ceil_div(shape.n, plan.tile) * plan.row_blocks * plan.split;
  return blocks <= 0x7fffffff && panel_shared_bytes(plan, shape) <= kMaxSharedBytes - 1024;
}

SpmmPlan plan_spmm(const SpmmShape& shape) {
  if (shape.m == 0 || shape.k == 0 || shape.n == 0 || shape.batch == 0 || shape.nnz == 0) return {};
  const SpmmPlan plan = choose(shape);
  return can_run(plan, shape) ? plan : SpmmPlan{};
}

}  // namespace lacuna::kernels
