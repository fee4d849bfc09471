// Pruner: applies schedule, score, selection and distribution to a model's parameters.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/parameter.h"
#include "core/random.h"
#include "pruning/pruning_config.h"

namespace lacuna {

/// Score of each stored entry of a parameter, laid out as its value; the largest are kept.
using Score = std::function<Tensor(const Parameter&)>;

/// |w|; Han et al. 2015, Zhu & Gupta 2017.
Score magnitude_score();
/// Uniform random; layer i of step t always scores the same.
Score random_score(RandomStream& random);

/// Entries that sparsity `s` leaves of `n`: round((1 - s) n), and all of them at s = 0.
std::int64_t kept_entries(double sparsity, std::int64_t n);

/// Keeps exactly `kept` entries of a parameter, the best by score, ties to the lower index (row-major), and moves value and
/// optimizer state onto the smaller topology; a dense parameter becomes CSR. Entries absent already stay absent: `kept`
/// past the stored count keeps all. The gradient is dropped.
void prune_parameter(Parameter& parameter, const Tensor& scores, std::int64_t kept);

/// One threshold over all parameters together; exactly `kept` entries remain in total.
void prune_globally(const std::vector<Parameter*>& parameters, const Score& score, std::int64_t kept);

class Pruner {
 public:
  /// Picks the prunable parameters that match include and not exclude. Throws ConfigError when an include or exclude glob
  /// matches no prunable weight, or nothing is left to prune: pruning that is silently inactive is a user's wasted week.
  Pruner(const PruningConfig& config, const std::vector<Parameter*>& parameters, std::uint64_t seed);

  /// Prunes if the schedule says so, before the forward pass of `step`. Returns whether it did.
  bool step(std::int64_t step);
  const std::vector<Parameter*>& targets() const { return targets_; }
  /// Fraction of zeros over the targets together.
  double achieved_sparsity() const;

 private:
  PruningConfig config_;
  std::vector<Parameter*> targets_;
  std::uint64_t seed_;
};

}  // namespace lacuna
