// Softmax cross entropy and its gradient in one pass over the logits.
//   logits [classes, n]    targets i32 [n], < 0 = ignored    e: label smoothing in [0, 1)
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// On CUDA a column stays in its block's registers from being read to being overwritten; more classes do not fit.
inline constexpr std::int64_t kMostFusedClasses = 1024;

template <class T>
struct LossGradient {
  Dense<const T> logits;  ///< at most kMostFusedClasses rows
  const std::int32_t* targets = nullptr;
  double label_smoothing = 0;
  wide_t<T>* loss = nullptr;  ///< [1]
  Dense<T> dlogits;           ///< may be logits
};

/// loss as cross_entropy's, dlogits as cross_entropy_gradient's for dloss = 1 (cross_entropy.h), each logit read once.
/// CPU: the bits of those two. CUDA: log of the sum of exponentials by another order of summation, so within rounding.
template <class T>
std::size_t loss_gradient_scratch_bytes(CpuStream, std::int64_t n);
template <class T>
void loss_gradient(CpuStream, const LossGradient<T>& c, void* scratch);
template <class T>
std::size_t loss_gradient_scratch_bytes(CudaStream, std::int64_t n);
template <class T>
void loss_gradient(CudaStream, const LossGradient<T>& c, void* scratch);

/// x[i] = factor[0] * x[i]. The factor is read on the device; when it is 1, x is neither read nor written.
template <class T>
void scale_by(CpuStream, const wide_t<T>* factor, T* x, std::int64_t n);
template <class T>
void scale_by(CudaStream, const wide_t<T>* factor, T* x, std::int64_t n);

}  // namespace lacuna::kernels
