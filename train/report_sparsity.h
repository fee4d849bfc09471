// The part of report.html that shows how patterns came about.
#pragma once

#include <string>
#include <vector>

#include "train/metrics.h"

namespace lacuna {

/// A section with sparsity, churn and what was ever active by layer over time, effective FLOPs, empty rows and columns, and the
/// newest histogram of each layer's magnitudes: of what TopologyUpdate::record wrote. "" when the metrics have none of it.
std::string sparsity_html(const std::vector<MetricsRecord>& metrics);

}  // namespace lacuna
