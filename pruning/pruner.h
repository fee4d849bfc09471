// Pruner: a method applied to a model's parameters, group by group, at the steps where it is due.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "pruning/method.h"
#include "pruning/pruning_config.h"
#include "pruning/selection.h"

namespace lacuna {

/// One layer's sparsity: what was asked for in the end and what it has now.
struct LayerSparsity {
  std::string name;
  std::int64_t size = 0;
  std::int64_t requested =
      0;  ///< entries at the final sparsity; under a global threshold the layer's share is not known
          ///< before, and this is the uniform one
  std::int64_t stored = 0;
  bool own = false;  ///< from pruning.layers
};

/// The random numbers of a step's update: one key per target, in order (and per tile of a large one).
RandomStream pruning_randomness(std::uint64_t seed, std::int64_t step);

class Pruner {
 public:
  /// Picks the prunable parameters that match include and not exclude, and sorts them into groups. `given` are patterns by
  /// parameter name (method static). Throws ConfigKeyError when a glob matches no prunable weight, everything would stay
  /// dense, m does not divide a layer's columns, a weight is sparser than its target already (a warm start), or `given`
  /// lacks a target: pruning that is silently inactive is a user's wasted week. Epochs must have become steps (in_steps).
  Pruner(const PruningConfig& config, const std::vector<Parameter*>& parameters, std::uint64_t seed,
         const std::map<std::string, TopologyPtr>& given = {});

  /// Batches whose mean gradient the targets must hold when step(step) is called; 0 = none.
  std::int64_t score_batches(std::int64_t step) const;
  /// Before the forward pass of `step`: whatever the method does there. Returns whether an update was due.
  bool step(std::int64_t step);
  /// Whether after_backward(step) has something to grow by gradient.
  bool growth_due(std::int64_t step) const;
  /// After the backward passes of `step`: growth by gradient, when that was due. True = patterns have changed, and this
  /// step's optimizer update is to be left out.
  bool after_backward(std::int64_t step);

  /// The last step at which any group has an update.
  std::int64_t last_step() const;
  const std::vector<Parameter*>& targets() const { return targets_; }
  const std::vector<PruningGroup>& groups() const { return groups_; }
  /// Fraction of zeros over the targets together, and over all prunable weights, the excluded ones counted.
  double achieved_sparsity() const;
  double overall_sparsity() const;
  std::vector<LayerSparsity> layers() const;
  /// "sparsity 0.9000 asked for, 0.9000 reached over 3 weights (12,288 of 122,880 stored); 0.8500 with the excluded ones".
  std::string summary() const;

 private:
  void choose_targets(const std::vector<Parameter*>& parameters);
  void make_groups(const std::map<std::string, TopologyPtr>& given);
  void check_targets() const;

  PruningConfig config_;
  std::unique_ptr<Method> method_;
  std::vector<Parameter*> all_;       // every parameter of the model, for rewinding
  std::vector<Parameter*> prunable_;  // also the excluded ones
  std::vector<Parameter*> targets_;
  std::vector<PruningGroup> groups_;
  std::uint64_t seed_;
};

}  // namespace lacuna
