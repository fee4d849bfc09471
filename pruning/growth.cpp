#include "pruning/growth.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/select.h"
#include "core/ops/topology_ops.h"

namespace lacuna {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor flat(const Tensor& t) { return t.reshape({t.numel()}); }

/// scores with `mark` (plus or minus infinity) at the entries of `marked`.
Tensor marked(const Tensor& scores, const TopologyPtr& entries, double mark) {
  return entries->nnz() == 0 ? scores : add(scores, indicator(entries, mark, scores.dtype()));
}

/// The k best of `best`, ties to the lower index.
SparseTensor best_of(const SparseTensor& best, std::int64_t k) {
  if (best.topology->nnz() <= k) return best;
  const TopologyPtr pattern = best.topology->subset(top_k_mask(best.values, k));
  return {gather_or_zero(best.values, remap(best.topology, pattern)), pattern};
}

/// The k best of a full [rows, cols] matrix of scores.
SparseTensor best_of_tile(const Tensor& scores, std::int64_t rows, std::int64_t cols, std::int64_t k) {
  const Tensor keep = top_k_mask(flat(scores), std::min(k, scores.numel()));
  const TopologyPtr pattern = Topology::from_mask(keep.reshape({rows, cols}));
  return {gather_or_zero(flat(scores), remap(nullptr, pattern)), pattern};
}

/// `below` under `above`: ties between them still go to the lower index.
SparseTensor stack(const SparseTensor& above, const SparseTensor& below) {
  if (!above.topology) return below;
  const std::int64_t a = above.topology->nnz(), b = below.topology->nnz();
  const Tensor values = Tensor::empty({a + b}, below.values.dtype(), below.values.device());
  if (a > 0) values.slice(0, a).copy_from(above.values);
  if (b > 0) values.slice(a, a + b).copy_from(below.values);
  return {values, stack_rows({above.topology, below.topology})};
}

/// The entries of the units that a pattern over the grid names.
TopologyPtr entries_of(const TopologyPtr& units, const UnitGrid& grid, std::int64_t tile_entries) {
  if (grid.is_entries()) return units;
  const RowCutter cutter(units);
  const std::int64_t step = tile_rows(grid.cols, grid.unit_rows, tile_entries);
  std::vector<TopologyPtr> parts;
  for (std::int64_t begin = 0; begin < grid.rows; begin += step) {
    const UnitGrid tile{std::min(step, grid.rows - begin), grid.cols, grid.unit_rows, grid.unit_cols};
    const std::int64_t first = begin / grid.unit_rows;
    const TopologyPtr chosen = cutter.rows(first, first + tile.grid_rows());
    const Tensor keep = top_k_mask(flat(indicator(chosen, 1, DType::f32)), chosen->nnz());
    parts.push_back(Topology::from_mask(expand_units(keep, nullptr, tile).reshape({tile.rows, tile.cols})));
  }
  return stack_rows(parts);
}

TopologyPtr grow_groups(const TopologyPtr& kept, std::int64_t count, std::int64_t m, const RowScores& scores,
                        std::int64_t tile_entries) {
  const RowCutter cutter(kept);
  const std::int64_t step = tile_rows(kept->cols(), 1, tile_entries);
  std::vector<TopologyPtr> parts;
  for (std::int64_t begin = 0; begin < kept->rows(); begin += step) {
    const std::int64_t end = std::min(begin + step, kept->rows());
    const Tensor tile = marked(scores(begin, end), cutter.rows(begin, end), kInfinity);  // what is kept comes first
    parts.push_back(Topology::from_mask(top_n_of_m(tile, nullptr, count, m)));
  }
  return stack_rows(parts);
}

}  // namespace

RowScores gradient_scores(const GradientPairs& pairs) {
  if (pairs.pairs.empty())
    throw ValueError("grow", "no product of this weight was recorded; it must be used in a step");
  return [&pairs](std::int64_t begin, std::int64_t end) {
    Tensor sum;
    for (const GradientPairs::Pair& pair : pairs.pairs) {
      const Tensor product = matmul_wide(pair.dc.slice(begin, end), pair.b, false, true);
      sum = sum.defined() ? add(sum, product) : product;
    }
    return magnitude(sum);
  };
}

RowScores random_scores(RandomStream& random, std::int64_t cols, DType dtype, Device device) {
  return [&random, cols, dtype, device](std::int64_t begin, std::int64_t end) {
    return random_uniform({end - begin, cols}, 0.0, 1.0, random.next(), dtype, device);
  };
}

TopologyPtr grow(const TopologyPtr& kept, std::int64_t count, const Granularity& granularity, const RowScores& scores,
                 std::int64_t tile_entries) {
  const OpScope scope("grow");
  if (kept->rows() == 0 || kept->cols() == 0) return kept;
  if (granularity.is_n_m()) return grow_groups(kept, count, granularity.m, scores, tile_entries);
  if (count == 0) return kept;
  const UnitGrid grid = granularity.grid({kept->rows(), kept->cols()});
  if (count * grid.unit_rows * grid.unit_cols > grid.count() * grid.unit_rows * grid.unit_cols - kept->nnz())
    throw ValueError("grow", fmt::format("{} units beside {} stored entries in [{}, {}]; fewer are absent", count,
                                         kept->nnz(), grid.rows, grid.cols));
  const RowCutter cutter(kept);
  const std::int64_t step = tile_rows(grid.cols, grid.unit_rows, tile_entries);
  SparseTensor best;
  for (std::int64_t begin = 0; begin < grid.rows; begin += step) {
    const std::int64_t end = std::min(begin + step, grid.rows);
    const UnitGrid tile{end - begin, grid.cols, grid.unit_rows, grid.unit_cols};
    // What is kept ranks below everything that is not.
    Tensor found = marked(scores(begin, end), cutter.rows(begin, end), -kInfinity);
    if (!grid.is_entries()) found = unit_scores(found, nullptr, tile);
    best = best_of(stack(best, best_of_tile(found, tile.grid_rows(), tile.grid_cols(), count)), count);
  }
  return unite(kept, entries_of(best.topology, grid, tile_entries));
}

}  // namespace lacuna
