#include "kernels/pointwise/activation.h"
#include "kernels/pointwise/pointwise.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kParallelFrom = 1 << 16;  // below this a parallel region costs more than it saves

/// out[i] = f(i), rounded to T. Elements are independent, so the number of threads never shows in the result.
template <class T, class F>
void map(T* out, std::int64_t n, F f) {
#pragma omp parallel for simd schedule(static) if (parallel : n >= kParallelFrom)
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(f(i));
}

}  // namespace

template <class T>
void binary(CpuStream, Binary op, const T* a, const T* b, T* out, std::int64_t n) {
  switch (op) {
    case Binary::add: return map(out, n, [=](std::int64_t i) { return a[i] + b[i]; });
    case Binary::sub: return map(out, n, [=](std::int64_t i) { return a[i] - b[i]; });
    case Binary::mul: return map(out, n, [=](std::int64_t i) { return a[i] * b[i]; });
  }
}

template <class T>
void scale(CpuStream, const T* a, double factor, T* out, std::int64_t n) {
  const auto typed = static_cast<acc_t<T>>(factor);
  map(out, n, [=](std::int64_t i) { return typed * a[i]; });
}

template <class T>
void activation(CpuStream, Activation kind, const T* x, T* y, std::int64_t n) {
  switch (kind) {  // one loop each, so that relu and the copy are vectorised
    case Activation::none: return map(y, n, [=](std::int64_t i) { return x[i]; });
    case Activation::relu:
      return map(y, n, [=](std::int64_t i) { return relu<acc_t<T>>(x[i]); });
    case Activation::gelu:
      return map(y, n, [=](std::int64_t i) { return gelu(static_cast<acc_t<T>>(x[i])); });
  }
}

template <class T>
void activation_gradient(CpuStream, Activation kind, const T* saved, const T* dy, T* dx, std::int64_t n) {
  switch (kind) {
    case Activation::none: return map(dx, n, [=](std::int64_t i) { return dy[i]; });
    case Activation::relu:
      return map(dx, n, [=](std::int64_t i) { return activate_gradient<acc_t<T>>(Activation::relu, saved[i], dy[i]); });
    case Activation::gelu:
      return map(dx, n, [=](std::int64_t i) { return activate_gradient<acc_t<T>>(Activation::gelu, saved[i], dy[i]); });
  }
}

template <class T>
void apply_epilogue(CpuStream, const Dense<const T>& x, const Epilogue<const acc_t<T>>& epilogue, const Dense<T>& y) {
#pragma omp parallel for schedule(static) if (x.rows * x.cols >= kParallelFrom)
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const T* from = x.data + i * x.ld;
    T* to = y.data + i * y.ld;
    const acc_t<T> shift = epilogue.bias == nullptr ? acc_t<T>(0) : epilogue.bias[i];
    if (epilogue.activation == Activation::relu) {
      for (std::int64_t j = 0; j < x.cols; ++j) to[j] = static_cast<T>(relu(from[j] + shift));
    } else if (epilogue.activation == Activation::gelu) {
      for (std::int64_t j = 0; j < x.cols; ++j) to[j] = static_cast<T>(gelu(from[j] + shift));
    } else {
      for (std::int64_t j = 0; j < x.cols; ++j) to[j] = static_cast<T>(from[j] + shift);
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                        \
  template void binary<T>(CpuStream, Binary, const T*, const T*, T*, std::int64_t);                  \
  template void scale<T>(CpuStream, const T*, double, T*, std::int64_t);                             \
  template void activation<T>(CpuStream, Activation, const T*, T*, std::int64_t);                    \
  template void activation_gradient<T>(CpuStream, Activation, const T*, const T*, T*, std::int64_t); \
  template void apply_epilogue<T>(CpuStream, const Dense<const T>&, const Epilogue<const acc_t<T>>&, const Dense<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
