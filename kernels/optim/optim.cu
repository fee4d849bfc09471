// Updates on CUDA: one launch per parameter, bound by memory. Every thread reads the guard itself: no host in between.
#include <algorithm>

#include "kernels/optim/elements.cuh"
#include "kernels/optim/optim.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;

unsigned blocks_for(CudaStream stream, std::int64_t n) {
  const std::int64_t most = std::int64_t{std::max(stream.multiprocessors, 1)} * 16;
  return static_cast<unsigned>(std::min((n + kThreads - 1) / kThreads, most));
}

/// f(i, gradient scale) for every i of [0, n), unless the guard says skip.
template <class F>
__global__ void __launch_bounds__(kThreads) update_elements(std::int64_t n, UpdateGuard<float> guard, F f) {
  if (guard.skip && *guard.skip != 0) return;
  const float scale = guard.scale ? *guard.scale : 1.0f;
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
#pragma unroll 4
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) f(i, scale);
}

__global__ void clip_factor_kernel(const float* sum_of_squares, double max_norm, float* norm, float* factor,
                                   std::int32_t* bad, std::int32_t* num_good) {
  const double root = sqrt(static_cast<double>(*sum_of_squares));
  if (norm) *norm = static_cast<float>(root);
  if (factor) *factor = clip_rule(root, max_norm);
  if (bad && !isfinite(root)) *bad = 1;
  if (num_good && !(bad && *bad != 0)) ++*num_good;
}

/// Whoever finds something stores the same 1, so no order is needed.
__global__ void __launch_bounds__(kThreads)
    flag_not_finite_kernel(const float* __restrict__ x, std::int64_t n, std::int32_t* bad) {
  const std::int64_t step = std::int64_t{gridDim.x} * kThreads;
  bool any = false;
#pragma unroll 4
  for (std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x; i < n; i += step) any |= !isfinite(x[i]);
  if (any) *bad = 1;
}

template <class F>
void launch(CudaStream stream, std::int64_t n, const UpdateGuard<float>& guard, const F& f) {
  if (n <= 0) return;
  update_elements<<<blocks_for(stream, n), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(n, guard, f);
  LACUNA_CUDA_LAUNCHED("update_elements");
}

}  // namespace

template <class T>
void sgd_update(CudaStream stream, T* value, const T* grad, T* momentum, std::int64_t n, double lr,
                double momentum_coefficient, double dampening, double weight_decay, bool nesterov, bool first_step,
                const UpdateGuard<T>& guard) {
  const SgdRule<float> rule(lr, momentum_coefficient, dampening, weight_decay, nesterov, first_step);
  launch(stream, n, guard, SgdElement{rule, value, grad, momentum});
}

template <class T>
void adam_update(CudaStream stream, T* value, const T* grad, T* m, T* v, std::int64_t n, double lr, double beta1,
                 double beta2, double eps, double weight_decay, bool decoupled, std::int64_t step,
                 const UpdateGuard<T>& guard) {
  launch(stream, n, guard,
         AdamElement{AdamRule<float>(lr, beta1, beta2, eps, weight_decay, decoupled, step), value, grad, m, v});
}

template <class T>
void ema_update(CudaStream stream, T* ema, const T* value, std::int64_t n, double decay, const UpdateGuard<T>& guard) {
  launch(stream, n, guard, EmaElement{EmaRule<float>(decay), ema, value});
}

template <class T>
void clip_factor(CudaStream stream, const T* sum_of_squares, double max_norm, T* norm, float* factor, std::int32_t* bad,
                 std::int32_t* num_good) {
  clip_factor_kernel<<<1, 1, 0, static_cast<cudaStream_t>(stream.handle)>>>(sum_of_squares, max_norm, norm, factor, bad,
                                                                            num_good);
  LACUNA_CUDA_LAUNCHED("clip_factor");
}

template <class T>
void flag_not_finite(CudaStream stream, const T* x, std::int64_t n, std::int32_t* bad) {
  if (n <= 0) return;
  flag_not_finite_kernel<<<blocks_for(stream, n), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(x, n, bad);
  LACUNA_CUDA_LAUNCHED("flag_not_finite");
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template void sgd_update<T>(CudaStream, T*, const T*, T*, std::int64_t, double, double, double, double, bool, bool,  \
                              const UpdateGuard<T>&);                                                                  \
  template void adam_update<T>(CudaStream, T*, const T*, T*, T*, std::int64_t, double, double, double, double, double, \
                               bool, std::int64_t, const UpdateGuard<T>&);                                             \
  template void ema_update<T>(CudaStream, T*, const T*, std::int64_t, double, const UpdateGuard<T>&);                  \
  template void clip_factor<T>(CudaStream, const T*, double, T*, float*, std::int32_t*, std::int32_t*);                \
  template void flag_not_finite<T>(CudaStream, const T*, std::int64_t, std::int32_t*);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
