#include "pruning/group.h"

#include <algorithm>
#include <cmath>

#include "pruning/distribution.h"
#include "pruning/growth.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

/// The dims that Erdős–Rényi sums: [out, in], or for erk those of a convolution's window taken apart.
Shape dims_of(const Parameter& p, const std::string& distribution) {
  const std::int64_t window = p.window;
  if (distribution == "er" || window == 1) return p.shape();
  return {p.shape()[0], p.shape()[1] / (window * window), window, window};
}

double own_sparsity_at(const PruningGroup& g, double own, double sparsity) {
  return sparsity >= g.config.sparsity ? own : own * sparsity / g.config.sparsity;
}

bool shares(const PruningTarget& t) { return !t.own_sparsity.has_value(); }

}  // namespace

std::vector<std::int64_t> kept_units(const PruningGroup& g, double sparsity) {
  std::vector<std::int64_t> counts;
  std::vector<LayerShare> layers;
  std::int64_t total = 0;
  for (const PruningTarget& t : g.targets) {
    const Parameter& p = *t.parameter;
    const double own = t.own_sparsity ? own_sparsity_at(g, *t.own_sparsity, sparsity) : sparsity;
    const std::int64_t stored = g.granularity.stored_units(p);
    counts.push_back(std::min(g.granularity.kept_units(own, p.shape()), stored));
    if (!shares(t)) continue;
    const UnitGrid grid = g.granularity.grid(p.shape());
    layers.push_back({dims_of(p, g.config.distribution), stored, grid.unit_rows * grid.unit_cols});
    total += g.granularity.num_units(p.shape());
  }
  if (g.config.distribution != "er" && g.config.distribution != "erk") return counts;
  const std::vector<std::int64_t> shared = erdos_renyi_kernel_counts(layers, kept_entries(sparsity, total));
  std::size_t next = 0;
  for (std::size_t i = 0; i < counts.size(); ++i)
    if (shares(g.targets[i])) counts[i] = shared[next++];
  return counts;
}

void prune_group(PruningGroup& g, double sparsity, const Score& score) {
  const bool global = g.config.distribution == "global";
  const std::vector<std::int64_t> counts = kept_units(g, sparsity);
  std::vector<Parameter*> together;
  std::int64_t total = 0;
  for (std::size_t i = 0; i < g.targets.size(); ++i) {
    Parameter& p = *g.targets[i].parameter;
    if (global && shares(g.targets[i])) {
      together.push_back(&p);
      total += g.granularity.num_units(p.shape());
    } else {
      prune_parameter(p, score(p), counts[i], g.granularity);
    }
  }
  prune_globally(together, score, kept_entries(sparsity, total), g.granularity);
}

void start_sparse(PruningGroup& g, RandomStream& random) {
  const std::vector<std::int64_t> counts = kept_units(g, g.config.sparsity);
  for (std::size_t i = 0; i < g.targets.size(); ++i) {
    Parameter& p = *g.targets[i].parameter;
    if (p.is_sparse()) continue;
    const bool given = i < g.given.size() && g.given[i];
    if (!given && counts[i] >= g.granularity.num_units(p.shape())) continue;  // a full layer stays dense
    const Tensor& value = p.value();
    if (given) {
      p.retopologize(g.given[i]->to(value.device()));
      continue;
    }
    p.retopologize(grow(empty_pattern(p.shape()[0], p.shape()[1], value.device()), counts[i], g.granularity,
                        random_scores(random, p.shape()[1], value.dtype(), value.device())));
  }
}

TopologyPtr drop_smallest(const PruningGroup& g, const Parameter& p, std::int64_t step, std::int64_t& dropped) {
  const double fraction = drop_fraction(g.config, step);
  const Tensor scores = magnitude_score()(p);
  // Groups of n in m are too small for a share each: entries compete over the layer, and each group is filled up again.
  const Granularity units = g.granularity.is_n_m() ? Granularity{} : g.granularity;
  const std::int64_t stored = units.stored_units(p);
  dropped = static_cast<std::int64_t>(std::floor(fraction * static_cast<double>(stored)));
  return p.topology()->subset(keep_mask(p, scores, stored - dropped, units));
}

}  // namespace lacuna
