// Rewinding: weights go back to what they were early in training (Frankle & Carbin 2019; Frankle et al. 2020).
#pragma once

#include <vector>

#include "core/parameter.h"

namespace lacuna {

/// Keeps a copy of every value in the slot "rewind", which patterns carry along and checkpoints save.
void keep_for_rewinding(const std::vector<Parameter*>& parameters);
/// Values become the kept ones; all other slots (optimizer state, averages) are dropped, so they begin anew.
void rewind(const std::vector<Parameter*>& parameters);
/// Drops the copies.
void forget_rewinding(const std::vector<Parameter*>& parameters);

}  // namespace lacuna
