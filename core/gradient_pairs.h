// The operands of a weight's gradient, kept on request: dW = sum over the pairs of dc b^T, which growth by gradient reads
// in tiles, so that the dense [m, k] gradient is never made.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace lacuna {

struct GradientPairs {
  struct Pair {
    Tensor dc;  ///< [m, n]
    Tensor b;   ///< [k, n]
  };
  std::vector<Pair> pairs;  ///< in the order of the backward passes

  /// Takes one product's operands: [m, n] and [k, n], or both with a batch in front, which is taken apart.
  void add(const Tensor& dc, const Tensor& b) {
    if (dc.rank() == 2) return pairs.push_back({dc, b});
    for (std::int64_t i = 0; i < dc.dim(0); ++i)
      pairs.push_back(
          {dc.slice(i, i + 1).reshape({dc.dim(1), dc.dim(2)}), b.slice(i, i + 1).reshape({b.dim(1), b.dim(2)})});
  }
};

}  // namespace lacuna
