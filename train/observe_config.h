// What a run may say about watching its sparsity.
#pragma once

#include <cstdint>

#include "core/field.h"

namespace lacuna {

struct ObserveConfig {
  bool layers = true;
  bool itop = false;
  std::int64_t histogram_every = 5;
};

template <class V>
void describe(ObserveConfig& c, V&& v) {
  v("layers", c.layers,
    "At each topology update: entries, churn, empty rows and columns of every prunable weight, and the model's FLOPs");
  v("itop", c.itop,
    "Share of entries that have ever been active (in-time over-parameterisation, Liu et al. 2021); one bit per entry "
    "on the "
    "host and in checkpoints");
  v("histogram_every", c.histogram_every,
    "Of the topology updates that drop weights, every which one records histograms of their magnitudes, from the first on; "
    "0 = none",
    non_negative());
}

inline void validate(const ObserveConfig& c, const ReportProblem& problem) {
  if (c.itop && !c.layers) problem("itop", "needs 'layers' to be true, or there is nowhere to record it");
}

}  // namespace lacuna
