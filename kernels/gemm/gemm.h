// Dense products C = epilogue(op(A) op(B)), row-major, singly or batched.
//   op(A) [m, k]    op(B) [k, n]    C [m, n]    m, n are C's; k is op(A)'s columns
#pragma once

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/half.h"
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
/// CUDA: cuBLASLt with f32 accumulation; f32 operands are rounded to TF32 when stream.allow_tf32. bf16 on CUDA alone,
/// with an f32 bias and C in bf16 or f32; in bf16 the product is rounded before the epilogue, and its result again.
template <class T, class Out>
void gemm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const GemmOptions<acc_t<T>>& options = {});
template <class T, class Out>
void gemm(CudaStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const GemmOptions<acc_t<T>>& options = {});

/// C = op(A) op(B) + bias[column], one matrix each; bias [n] of the operands' type, or null. The bias is added to the
/// f32 sums, before they are rounded. bf16 on CUDA alone.
template <class T>
void gemm_column_bias(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c, bool transpose_a,
                      bool transpose_b, const T* bias);
template <class T>
void gemm_column_bias(CudaStream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c, bool transpose_a,
                      bool transpose_b, const T* bias);

/// C = scalars[0] * A B of f16 operands, summed in f32; scalars on the device, {factor, 0}. One matrix each, k > 0. CUDA
/// alone. False, with nothing done, where cuBLASLt has no kernel for these operands.
bool gemm_f16(CudaStream, const Dense<const Half>& a, const Dense<const Half>& b, const Dense<float>& c,
              const float* scalars);

}  // namespace lacuna::kernels
