// Softmax cross entropy over the rows of feature-major logits.
//   logits [classes, n]    targets i32 [n], < 0 = ignored    e: label smoothing in [0, 1)
// For bf16 logits the loss and what is saved are f32; the gradient is bf16, as the logits.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// What the gradient needs of the forward pass, on the device.
template <class T>
struct CrossEntropySaved {
  T* log_sum_exp = nullptr;  ///< [n]; log of the sum of exp(logits[:, j])
  T* count = nullptr;        ///< [1]; number of targets that are not ignored
};

/// loss[0] = mean over targets t >= 0 of  lse_j - (1 - e) logits[t, j] - (e / classes) sum_c logits[c, j];
/// NaN when every target is ignored (0 / 0, as in torch) and, where it cannot be refused, when some target >= classes.
/// Writes saved. scratch: n elements of acc_t<T>.
template <class T>
void cross_entropy(CpuStream, const Dense<const T>& logits, const std::int32_t* targets, double label_smoothing,
                   acc_t<T>* loss, const CrossEntropySaved<acc_t<T>>& saved, acc_t<T>* scratch);
template <class T>
void cross_entropy(CudaStream, const Dense<const T>& logits, const std::int32_t* targets, double label_smoothing,
                   acc_t<T>* loss, const CrossEntropySaved<acc_t<T>>& saved, acc_t<T>* scratch);

/// dlogits[c, j] = dloss[0] / count * (softmax(logits[:, j])_c - (1 - e) [c = t_j] - e / classes); 0 where t_j < 0.
/// dloss is read on the device. dlogits may be logits.
template <class T>
void cross_entropy_gradient(CpuStream, const Dense<const T>& logits, const std::int32_t* targets,
                            double label_smoothing, const acc_t<T>* dloss,
                            const CrossEntropySaved<const acc_t<T>>& saved, const Dense<T>& dlogits);
template <class T>
void cross_entropy_gradient(CudaStream, const Dense<const T>& logits, const std::int32_t* targets,
                            double label_smoothing, const acc_t<T>* dloss,
                            const CrossEntropySaved<const acc_t<T>>& saved, const Dense<T>& dlogits);

/// correct[0] = number of j with t_j >= 0 whose largest logit (the first of equal ones) is t_j. scratch: n floats.
template <class T>
void count_correct(CpuStream, const Dense<const T>& logits, const std::int32_t* targets, float* correct,
                   float* scratch);
template <class T>
void count_correct(CudaStream, const Dense<const T>& logits, const std::int32_t* targets, float* correct,
                   float* scratch);

}  // namespace lacuna::kernels
