// Distribution: how a total number of stored weights is shared out among layers.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"

namespace lacuna {

/// A layer that takes part: its dense shape, and the most entries it can hold (those it still stores).
struct LayerShare {
  Shape shape;
  std::int64_t limit = 0;
};

/// Entries per layer under Erdős–Rényi-Kernel: a layer's share of nonzeros is eps * sum(dims) / prod(dims), so small layers
/// stay denser (Evci et al., "Rigging the Lottery", 2020, section 3; for matrices the same as Erdős–Rényi, Mocanu et al.
/// 2018). A layer that eps would overfill is held at its limit and eps is solved again for the others. The sum is exactly
/// `total` (fractions go to the largest remainders, ties to the earlier layer), or the sum of limits where that is less.
std::vector<std::int64_t> erdos_renyi_kernel_counts(const std::vector<LayerShare>& layers, std::int64_t total);

}  // namespace lacuna
