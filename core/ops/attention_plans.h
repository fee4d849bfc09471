// What the attention ops share on their way to the fused kernels. Internal to core/ops.
#pragma once

#include <vector>

#include "core/topology.h"
#include "kernels/sparse_attention/sparse_attention.h"

namespace lacuna {

/// The patterns' plans for the fused kernels, or those of the transposed patterns: cached in the patterns, which must
/// outlive what is returned. CUDA alone.
std::vector<kernels::PanelPlan> attention_plans(const std::vector<TopologyPtr>& patterns, DType dtype, std::int64_t d,
                                                bool transposed);

}  // namespace lacuna
