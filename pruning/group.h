// PruningGroup: weights under one schedule and one distribution, and what they have in common to be pruned.
#pragma once

#include <optional>
#include <vector>

#include "core/parameter.h"
#include "pruning/granularity.h"
#include "pruning/selection.h"

namespace lacuna {

struct PruningTarget {
  Parameter* parameter = nullptr;
  std::optional<double> own_sparsity;  ///< pruning.layers: outside the distribution
};

struct PruningGroup {
  PruningConfig config;  ///< the section with the group's keys laid over it, in steps
  Granularity granularity;
  std::vector<PruningTarget> targets;
  /// static: patterns that were given, by target; null = random.
  std::vector<TopologyPtr> given;
};

/// Units that each target keeps at `sparsity` of the group, by its distribution (global counts as uniform here); never
/// more than it stores. A layer of its own takes part in proportion: own * sparsity / final.
///   uniform    round((1 - sparsity) units) each
///   er, erk    their sum is exactly round((1 - sparsity) units of all), or what is stored where that is less
std::vector<std::int64_t> kept_units(const PruningGroup& group, double sparsity);

/// Prunes the group to `sparsity` by score: layer by layer, or under one threshold where its distribution is global.
void prune_group(PruningGroup& group, double sparsity, const Score& score);

/// Gives each dense target a pattern of kept_units random units (or the one given) before training. A target that is
/// sparse already (a warm start) keeps its own.
void start_sparse(PruningGroup& group, RandomStream& random);

/// What stays when a dynamic method drops its share at `step`: all but the `dropped` = floor(drop_fraction * units)
/// smallest by magnitude. What is dropped may grow again.
TopologyPtr drop_smallest(const PruningGroup& group, const Parameter& parameter, std::int64_t step,
                          std::int64_t& dropped);

}  // namespace lacuna
