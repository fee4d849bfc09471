// Which keys each query attends to: causal patterns, square [t, t], row = query, column = key, every row non-empty.
//
// t: sequence length.   d = query - key: distance.   band: the number of nearest keys, the query itself included.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "core/topology.h"

namespace lacuna {

/// Distances d < band. band >= t gives the full causal triangle. Throws ValueError unless t and band are positive.
TopologyPtr causal_band(std::int64_t t, std::int64_t band);

/// Every d >= 0: the causal triangle, t (t + 1) / 2 entries.
TopologyPtr full_causal(std::int64_t t);

/// The pattern of Gale et al. (SC 2020): the causal band, dense, and off-band causal entries, each drawn on its own
/// with probability min(1, c / d), c such that the expected share of off-band entries present is 1 - off_band_sparsity.
/// c is one number for the whole matrix, so a pair's chance depends on its distance alone. t = 12,288, band 256 and
/// 0.95 give c = 101.8 and 6.73 M entries, 8.9 % of the causal half, the paper's figures.
/// A pure function of the arguments. Throws ValueError unless t, band > 0 and off_band_sparsity is in [0, 1].
TopologyPtr band_and_random(std::int64_t t, std::int64_t band, double off_band_sparsity, RandomKey key);

/// c of band_and_random; 0 when nothing is drawn.
double random_attention_scale(std::int64_t t, std::int64_t band, double off_band_sparsity);

/// Distances d < band, and every multiple of stride (Child et al., Generating Long Sequences with Sparse Transformers,
/// 2019, section 4: both heads of its strided attention in one pattern). Throws ValueError unless all are positive.
TopologyPtr strided(std::int64_t t, std::int64_t stride, std::int64_t band);

/// A pattern from a file in the DLMC's .smtx format: line 1 `rows, cols, nnz`, line 2 row offsets, line 3 column
/// indices, separated by blanks (or commas). Must be t x t, causal (no key after its query), columns ascending in each
/// row, no row empty. Throws DataError naming the file and the first thing wrong.
TopologyPtr attention_from_file(const std::string& path, std::int64_t t);

/// A model's patterns: 1 for every head, or one per head; layers that share them share this object.
class AttentionPatterns {
 public:
  /// Throws ValueError unless every pattern is square and of one size, and there is at least one.
  explicit AttentionPatterns(std::vector<TopologyPtr> patterns);
  const std::vector<TopologyPtr>& topologies() const { return topologies_; }
  std::int64_t sequence_length() const { return topologies_.front()->rows(); }
  /// Entries of all heads: a shared pattern counts once per head.
  std::int64_t entries(std::int64_t heads) const;
  /// Moves each pattern once, however many layers share this.
  void to(Device device);

 private:
  std::vector<TopologyPtr> topologies_;
};
using AttentionPatternsPtr = std::shared_ptr<AttentionPatterns>;

}  // namespace lacuna
