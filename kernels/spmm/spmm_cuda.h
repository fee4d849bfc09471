// SpMM on CUDA with the kernel named. spmm (spmm.h) takes the row kernel; spmm_with(plan_spmm(...)) the measured best.
#pragma once

#include "kernels/runtime/views.h"
#include "kernels/spmm/spmm_plan.h"

namespace lacuna::kernels {

/// Whether the panel kernel, and so every plan, can run here: compute capability 9.0, and a build with code for it (one for sm_80 alone
/// holds a stub, which traps). The row and the direct kernel always can.
bool spmm_panel_supports(CudaStream stream);

/// What plan_spmm and can_run ask of a product C = A B.
SpmmShape spmm_shape(CudaStream stream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c);

/// C = epilogue(A B) as `plan` says; C [m, n] is overwritten, no scratch. The kernel, tile and split set the order of a
/// sum: plans that agree in these agree bit for bit. Throws runtime::Failure where can_run(plan, ...) is false, or panels
/// are split and a.row_shares is null.
void spmm_with(const SpmmPlan& plan, CudaStream stream, const Csr<const float>& a, const Dense<const float>& b,
               const Dense<float>& c, const Epilogue<const float>& epilogue);

}  // namespace lacuna::kernels
