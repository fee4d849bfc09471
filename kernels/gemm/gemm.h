// Dense products C = epilogue(op(A) op(B)), row-major, singly or batched.
//   op(A) [m, k]    op(B) [k, n]    C [m, n]    m, n are C's; k is op(A)'s columns
#pragma once

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

template <class T>
struct GemmOptions {
  bool transpose_a = false;  ///< A is stored [k, m]
  bool transpose_b = false;  ///< B is stored [n, k]
  bool accumulate = false;   ///< C += the product (before bias and activation) instead of C = the product
  Epilogue<const T> epilogue = {};
};

/// The batch count is C's; A and B have the same, or batch_stride 0 and are shared. k = 0 gives zeros (or C, when
/// accumulating), then the epilogue. C must not overlap A or B.
/// CPU: oneDNN for float where it was found, Eigen otherwise; the same bits for the same number of threads.
/// CUDA: cuBLASLt with f32 accumulation; operands are rounded to TF32 when stream.allow_tf32.
template <class T>
void gemm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const GemmOptions<T>& options = {});
template <class T>
void gemm(CudaStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const GemmOptions<T>& options = {});

}  // namespace lacuna::kernels
