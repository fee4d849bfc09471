// Growth: the best absent connections by a score that is computed in tiles, so that no dense score is ever held.
#pragma once

#include <functional>

#include "core/gradient_pairs.h"
#include "core/random.h"
#include "core/topology.h"
#include "pruning/granularity.h"
#include "pruning/patterns.h"

namespace lacuna {

/// Scores of rows [begin, end) of a weight: [end - begin, cols]. The largest grow.
using RowScores = std::function<Tensor(std::int64_t begin, std::int64_t end)>;

/// |dW| of those rows, dW = sum of dc b^T over the pairs, in their order: exactly the rows of the dense gradient
/// (RigL; Evci et al. 2020, section 3). One scratch of the tile's size per product.
RowScores gradient_scores(const GradientPairs& pairs);
/// Uniform random, one key per tile (SET; Mocanu et al. 2018).
RowScores random_scores(RandomStream& random, std::int64_t cols, DType dtype, Device device);

/// `kept` and the `count` best of the units it lacks: the streaming top k equals the top k of all scores at once, ties
/// to the lower index (row-major). For n_m `count` is the size of each group afterwards, to which all are filled up.
/// Holds beside the result one tile and `count` scores. Throws ValueError when fewer than `count` units are absent.
TopologyPtr grow(const TopologyPtr& kept, std::int64_t count, const Granularity& granularity, const RowScores& scores,
                 std::int64_t tile_entries = kTileEntries);

}  // namespace lacuna
