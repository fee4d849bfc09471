// Dropout.
#pragma once

#include "core/random.h"
#include "core/var.h"

namespace lacuna {

/// x with each element dropped (set to 0) with probability p, the others scaled by 1 / (1 - p). Element i is dropped
/// when the uniform number of word i of `key` is below p: the same elements on every backend and dtype.
/// p = 0 returns x. Throws ValueError unless 0 <= p < 1. Gradient: the same dropout of dc; no mask is kept.
Tensor dropout(const Tensor& x, double p, RandomKey key);
Var dropout(const Var& x, double p, RandomKey key);

}  // namespace lacuna
