// Distribution: how a total number of stored units is shared out among layers.
#pragma once

#include <cstdint>
#include <vector>

#include "core/shape.h"

namespace lacuna {

/// A layer that takes part: its dense shape, the most units it can hold (those it still stores), and a unit's entries.
struct LayerShare {
  Shape shape;
  std::int64_t limit = 0;
  std::int64_t unit = 1;
};

/// Units per layer under Erdos-Renyi (Mocanu et al. 2018) and Erdos-Renyi-Kernel (Evci et al., "Rigging the Lottery",
/// 2020, section 3): a layer's share of nonzeros is eps * sum(dims) / prod(dims), so small layers stay denser. With
/// shapes [out, in] it is the former, with [out, in, height, width] of a convolution's window the latter. A layer that
/// eps would overfill is held at its limit and eps is solved again for the others. The sum is exactly `total`
/// (fractions go to the largest remainders, ties to the earlier layer), or the sum of limits where that is less.
std::vector<std::int64_t> erdos_renyi_kernel_counts(const std::vector<LayerShare>& layers, std::int64_t total);

}  // namespace lacuna
