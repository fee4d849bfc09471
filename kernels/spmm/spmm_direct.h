// Launches the direct kernel (spmm_direct.cuh); spmm_with (spmm_cuda.h) is what the op calls.
#pragma once

#include "kernels/spmm/spmm_operands.h"
#include "kernels/spmm/spmm_plan.h"

namespace lacuna::kernels {

/// plan.kernel is direct and can_run holds; p.batch is at most 65535. vector: B and C can be read and written 16 bytes at
/// a time.
void launch_spmm_direct(CudaStream stream, const SpmmPlan& plan, const SpmmOperands& p, bool vector);

}  // namespace lacuna::kernels
