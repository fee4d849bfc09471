// SDDMM by groups of entries: what the tiles are too large for. Any shape, any alignment, f32 and bf16.
#pragma once

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// c[i] = scale * dot(A[row i], B[col i]) on CUDA cores, sums in f32 (or f32-accurate). entry_rows [nnz]: each entry's
/// row, complete before this call like the pattern where c.settled says so. In, Out: float, float; Bf16, float; Bf16, Bf16.
template <class In, class Out>
void sddmm_groups(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, const Csr<Out>& c, float scale,
                  const std::int32_t* entry_rows);

}  // namespace lacuna::kernels
