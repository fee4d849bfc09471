#include "kernels/spmm/spmm_plan.h"

#include <algorithm>
#include <cmath>

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kSharedOfMultiprocessor = 233472;  // bytes; a block takes 1 KB more than it asks for
constexpr int kThreadsOfMultiprocessor = 1024;            // at the kernel's 64 registers a thread

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Multiprocessors that clusters can fill: those of four and more do not go into the groups of 16 or 18 without a rest.
std::int64_t usable(const SpmmPlan& p, const SpmmShape& s) {
  return std::max(p.split >= 4 ? s.multiprocessors * 10 / 11 : s.multiprocessors, 1);
}

std::int64_t column_tiles(const SpmmPlan& p, const SpmmShape& s) { return ceil_div(s.n, p.tile) * s.batch; }

/// Blocks that a multiprocessor holds at a time.
std::int64_t resident(const SpmmPlan& p, const SpmmShape& s) {
  return std::min(kSharedOfMultiprocessor / (panel_shared_bytes(p, s) + 1024),
                  std::int64_t{kThreadsOfMultiprocessor} / (32 * p.warps));
}

/// A sum of terms fitted to 1,100 measurements on one H100, 76 products times up to 30 tilings, within 9 % (root mean
/// square) for the better tilings; what it picks takes 1 % more than the fastest tiling of each product.
double panel_microseconds(const SpmmPlan& p, const SpmmShape& s) {
  const std::int64_t blocks = column_tiles(p, s) * p.row_blocks * p.split, at_once = resident(p, s);
  const auto each = static_cast<double>(ceil_div(blocks, usable(p, s)));  // blocks of a multiprocessor
  const auto waves = static_cast<double>(ceil_div(blocks, usable(p, s) * at_once));
  const auto rounds = static_cast<double>(panel_rounds(p, s)), share = static_cast<double>(panel_share(p, s));
  // A row's entries in the share, and as many as are multiplied: whole steps.
  const double entries = static_cast<double>(s.nnz) / static_cast<double>(s.m) / p.split;
  const double step = p.tile == 128 ? 8 : 16;
  const double multiplied = entries + step / 2 * (1 - std::exp(-2 * entries / step));
  const double panel = 4e-6 * each * share * p.tile;  // MB that a multiprocessor copies
  const double rows = each * rounds * p.warps;
  // MB of shared memory that it reads: every lane reads an entry along with its columns of B.
  const double multiply = 4e-6 * rows * multiplied * p.tile * (p.tile == 32 ? 1.5 : 1.25);
  const double warps = std::min(each, static_cast<double>(at_once)) * p.warps;
  const double moved =
      4e-6 * (static_cast<double>(s.k + s.m) * static_cast<double>(s.n * s.batch) + 2 * static_cast<double>(s.nnz));
  double us = 1.21 + 3.73 * panel + (3.14 + 3.25 / warps) * multiply + 0.163 * moved + 4.17 * (waves - 1);
  us += 1.14e-3 * rows + 0.43 * rounds + 0.524 * std::ceil(entries / kPanelStage);
  // Fitted alone 0.577 for both; blocks of 32 warps gain where kernels are launched early (docs/kernels/mobilenet_inference.md).
  if (p.warps == 32) us += p.tile == 32 ? 0.4 : 0.577;
  if (s.n % 32 != 0) us += 6.04 * panel;  // a tile's row of B lies across one line more
  if (s.n % 4 != 0) us += 0.241e-3 * each * share;
  if (p.split > 1) us += 2.48 * waves + 9.32e-3 * rows;
  return us;
}

/// B no larger than this (of all of a batch): the direct kernel asks for all of it in L2.
constexpr std::int64_t kMostDirectBytes = 32 << 20;

/// A sum of terms fitted to 660 measurements on one H100, 134 products times up to ten tilings, within 12 % (root mean
/// square; n of 49, all the products of odd n: 15 %). Between it and the panels it picks what takes 1 % more than the
/// fastest of each product.
double direct_microseconds(const SpmmPlan& p, const SpmmShape& s) {
  const bool vector = s.n % 4 == 0;
  const auto m = static_cast<double>(s.m), n = static_cast<double>(s.n), k = static_cast<double>(s.k);
  const auto nnz = static_cast<double>(s.nnz), batch = static_cast<double>(s.batch);
  const std::int64_t tiles = column_tiles(p, s), blocks = tiles * p.row_blocks;
  const std::int64_t at_once =
      std::int64_t{std::max(s.multiprocessors, 1)} * (kThreadsOfMultiprocessor / (32 * p.warps));
  const auto rounds = static_cast<double>(ceil_div(s.m, std::int64_t{p.warps / p.split} * p.row_blocks));
  const auto waves = static_cast<double>(ceil_div(blocks, at_once));
  const double entries = nnz / m / p.split;              // of a warp's row
  const double step = vector && p.tile == 32 ? 32 : 16;  // entries in flight
  const double steps = rounds * std::ceil(entries / step);
  const double moved = 4e-6 * ((k + m) * n * batch + 2 * nnz), read = 4e-6 * nnz * n * batch;  // MB
  if (!vector) return 2.37 + 2.44 * (waves - 1) + 1.1 * steps + 0.104 * read;
  // MB of B that blocks read, rows that several of a block's entries name once.
  const double named = k * (1 - std::exp(-entries * p.warps * rounds / k));
  const double fetched =
      4e-6 * static_cast<double>(blocks) * named * std::min<double>(p.tile, n * batch / static_cast<double>(tiles));
  const double rows = rounds * static_cast<double>(blocks) * p.warps / std::max(s.multiprocessors, 1);
  double us = 1.50 + 0.233 * moved + 0.0318 * read + 0.0391 * fetched + 0.0179 * rows + 1.67 * (waves - 1);
  us += 0.301 * steps + 0.0102 * entries * rounds;
  if (p.split > 1) us += 0.108;
  if (p.warps == 32) us += 0.254;
  if (s.n % 32 != 0) us += 0.125 * moved;
  return us;
}

/// The fastest direct plan by its model, if it beats `best`.
void consider_direct(const SpmmShape& s, SpmmPlan& best) {
  if (s.k * s.batch > kMostDirectBytes / (4 * s.n)) return;
  const double entries = static_cast<double>(s.nnz) / static_cast<double>(s.m);
  const auto consider = [&](SpmmPlan plan, std::int64_t row_blocks) {
    if (row_blocks > 0x7fffffff) return;
    plan.row_blocks = static_cast<int>(row_blocks);
    if (!can_run(plan, s)) return;
    plan.seconds = 1e-6 * direct_microseconds(plan, s);
    if (plan.seconds < best.seconds) best = plan;
  };
  for (const int tile : {32, 64}) {
    if (tile == 32 ? s.n % 4 != 0 : s.n % 4 == 0 && s.n <= 32) continue;
    for (const int warps : {8, 32}) {
      SpmmPlan plan{.kernel = SpmmKernel::direct, .tile = tile, .warps = warps};
      const std::int64_t most = ceil_div(s.m, warps), fewest = ceil_div(most, kPanelRounds);
      const std::int64_t one_wave =
          s.multiprocessors * (kThreadsOfMultiprocessor / (32 * warps)) / column_tiles(plan, s);
      if (one_wave < most) consider(plan, std::max(one_wave, fewest));
      if (warps == 32) continue;
      for (plan.split = 1; plan.split <= 8 && (plan.split == 1 || entries >= 4 * plan.split); plan.split *= 2)
        consider(plan, ceil_div(s.m, warps / plan.split));
    }
  }
}

}  // namespace

double spmm_row_seconds(const SpmmShape& s) {
  const double flops = 2 * static_cast<double>(s.nnz) * static_cast<double>(s.n * s.batch);
  const double bytes = 4 * static_cast<double>(s.m + s.k) * static_cast<double>(s.n * s.batch);
  const double entries = static_cast<double>(s.nnz) / static_cast<double>(std::max<std::int64_t>(s.m, 1));
  return 4e-6 + 70e-9 * entries + flops / 10.3e12 +
         bytes / 0.8e12;  // one row is a chain; then L1; then what lies behind it
}

std::int64_t panel_share(const SpmmPlan& plan, const SpmmShape& shape) {
  return plan.split == 1 ? shape.k : ceil_div(shape.k, kRowShares) * (kRowShares / plan.split);
}

std::int64_t panel_rounds(const SpmmPlan& plan, const SpmmShape& shape) {
  return ceil_div(shape.m, std::int64_t{plan.warps} * plan.row_blocks);
}

std::int64_t panel_shared_bytes(const SpmmPlan& plan, const SpmmShape& shape) {
  const std::int64_t sums = plan.split > 1 ? panel_rounds(plan, shape) * plan.warps : 0;
  return (panel_share(plan, shape) + 1 + sums) * plan.tile * 4 + std::int64_t{plan.warps} * 2 * kPanelStage * 8;
}

bool can_run(const SpmmPlan& plan, const SpmmShape& shape) {
  if (plan.kernel == SpmmKernel::row) return true;
  const auto one_of = [](int x, auto... allowed) { return ((x == allowed) || ...); };
  if (plan.row_blocks < 1 || std::max({shape.m, shape.k, shape.n}) > 0x7fffffff) return false;
  if (plan.kernel == SpmmKernel::direct) {
    const bool exists = (plan.warps == 8 && one_of(plan.tile, 32, 64) && one_of(plan.split, 1, 2, 4, 8)) ||
                        (plan.warps == 32 && plan.tile == 64 && plan.split == 1);
    if (!exists) return false;
    const std::int64_t rounds = ceil_div(shape.m, std::int64_t{plan.warps / plan.split} * plan.row_blocks);
    const std::int64_t warps = ceil_div(shape.n, 32) * plan.row_blocks * plan.warps;
    return rounds <= (plan.split > 1 ? 1 : kPanelRounds) &&
           warps <= 0x3ffffff &&  // threads, and below lines, in 32 bits
           ceil_div(shape.n, 32) * shape.k <= 0x7fffffff && shape.nnz <= 0x70000000;
  }
  const bool whole = (plan.tile == 32 && one_of(plan.warps, 16, 32)) ||
                     (plan.tile == 64 && one_of(plan.warps, 8, 16, 32)) ||
                     (plan.tile == 128 && one_of(plan.warps, 8, 16));
  const bool shared = (plan.tile == 32 && one_of(plan.warps, 16, 32)) || (plan.tile == 64 && plan.warps == 16);
  const bool exists = plan.split == 1 ? whole : shared && one_of(plan.split, 2, 4, 8);
  if (!exists) return false;
  const std::int64_t blocks = ceil_div(shape.n, plan.tile) * plan.row_blocks * plan.split;
  return blocks <= 0x7fffffff && panel_rounds(plan, shape) <= kPanelRounds &&
         panel_shared_bytes(plan, shape) <= kMaxSharedBytes - 1024;
}

SpmmPlan plan_spmm(const SpmmShape& shape) {
  SpmmPlan best;
  if (shape.m == 0 || shape.k == 0 || shape.n == 0 || shape.batch == 0 || shape.nnz == 0) return best;
  best.seconds = spmm_row_seconds(shape);
  for (const int tile : {32, 64, 128}) {
    if ((tile == 64 && shape.n <= 32) || (tile == 128 && shape.n < 1024)) break;
    for (const int warps : {8, 16, 32}) {
      for (const int split : {1, 2, 4, 8}) {
        SpmmPlan plan{.kernel = SpmmKernel::panel, .tile = tile, .warps = warps, .split = split};
        // More than a fifth of the columns made twice or for nothing never won.
        if (tile == 64 && split == 1 && 5 * tile * ceil_div(shape.n, tile) > 6 * shape.n) continue;
        const std::int64_t fewest = ceil_div(shape.m, std::int64_t{warps} * kPanelRounds);
        const std::int64_t most = ceil_div(shape.m, warps);
        std::int64_t last = 0;
        bool runs = false;
        for (int wanted = 1; wanted <= 4; ++wanted) {  // blocks a multiprocessor
          const std::int64_t one_wave = usable(plan, shape) * wanted / (column_tiles(plan, shape) * split);
          const std::int64_t row_blocks = std::max(fewest, std::min(one_wave, most));
          if (row_blocks == last || row_blocks > 0x7fffffff) continue;
          last = row_blocks;
          plan.row_blocks = static_cast<int>(row_blocks);
          if (!can_run(plan, shape)) continue;
          // A second wave would load its panels while nothing multiplies; one block where two fit, with several rows a
          // warp, leaves too little at work.
          const std::int64_t at_once = resident(plan, shape);
          if (runs && wanted > at_once) continue;
          runs = true;
          if (at_once >= 2 && panel_rounds(plan, shape) >= 3 &&
              column_tiles(plan, shape) * row_blocks * split <= usable(plan, shape))
            continue;
          plan.seconds = 1e-6 * panel_microseconds(plan, shape);
          if (plan.seconds < best.seconds) best = plan;
        }
      }
    }
  }
  consider_direct(shape, best);
  return best;
}

}  // namespace lacuna::kernels
