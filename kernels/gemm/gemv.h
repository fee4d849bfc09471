// The product with one column: a classifier at batch 1. CUDA alone; gemm comes here by itself.
#pragma once

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// c [m, 1] = epilogue(A b), b [k, 1], in f32 (no TF32); bf16 as gemm: the product is rounded before the epilogue, and its
/// result again. Any alignment and row distance; k may be 0.
template <class T, class Out>
void gemv(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const Epilogue<const float>& epilogue);

}  // namespace lacuna::kernels
