// On the CPU: pieces of rows, computed and summed as the separate kernels do, so the results are theirs bit for bit.
#include <algorithm>

#include "kernels/activation_dropout/activation_dropout.h"
#include "kernels/common/parallel.h"
#include "kernels/common/row_sum.h"
#include "kernels/pointwise/activation.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kPiece = 512;  // elements whose random words lie on the stack at a time

// Calls f(begin, end, words) for pieces of row i; `words` are the mask's, from element `begin` on, when something is
// dropped.
template <class F>
void for_pieces(const DropoutRule& dropout, std::int64_t i, std::int64_t n, F&& f) {
  std::uint32_t words[kPiece];
  for (std::int64_t begin = i * n; begin < (i + 1) * n; begin += kPiece) {
    const std::int64_t end = std::min(begin + kPiece, (i + 1) * n);
    if (dropout.active()) dropout_words(dropout, begin, end - begin, words);
    f(begin, end, words);
  }
}

}  // namespace

template <class T>
void activation_dropout(CpuStream, const ActivationDropout<T>& c) {
  using A = wide_t<T>;
  const A keep_scale = static_cast<A>(c.dropout.keep_scale);
#pragma omp parallel for schedule(static) if (worth_threads(c.m * c.n))
  for (std::int64_t i = 0; i < c.m; ++i) {
    const A shift = c.bias == nullptr ? A(0) : c.bias[i];
    for_pieces(c.dropout, i, c.n, [&](std::int64_t begin, std::int64_t end, const std::uint32_t* words) {
      for (std::int64_t j = begin; j < end; ++j) {
        A value = activate(c.activation, static_cast<A>(c.x[j]) + shift);
        if (c.dropout.active()) value = keep_or_drop(value, words[j - begin], c.dropout.threshold, keep_scale);
        c.y[j] = static_cast<T>(value);
      }
    });
  }
}

template <class T>
std::size_t activation_dropout_scratch_bytes(CpuStream, std::int64_t, std::int64_t) {
  return 0;
}

template <class T>
void activation_dropout_gradient(CpuStream, const ActivationDropoutGradient<T>& c, void*) {
  using A = wide_t<T>;
  const A keep_scale = static_cast<A>(c.dropout.keep_scale);
  // The ReLU's output knows what was dropped.
  const DropoutRule drawn = c.activation == Activation::relu ? DropoutRule{} : c.dropout;
#pragma omp parallel for schedule(static) if (worth_threads(c.m * c.n))
  for (std::int64_t i = 0; i < c.m; ++i) {
    const A shift = c.bias == nullptr ? A(0) : c.bias[i];
    for_pieces(drawn, i, c.n, [&](std::int64_t begin, std::int64_t end, const std::uint32_t* words) {
      for (std::int64_t j = begin; j < end; ++j) {
        A gradient = static_cast<A>(c.dy[j]);
        if (drawn.active()) {
          gradient = keep_or_drop(gradient, words[j - begin], drawn.threshold, keep_scale);
        } else if (c.dropout.active()) {
          gradient *= keep_scale;
        }
        if (c.activation == Activation::relu) {
          gradient = activate_gradient(Activation::relu, static_cast<A>(c.saved[j]), gradient);
        } else if (c.activation == Activation::gelu) {
          gradient = activate_gradient(Activation::gelu, static_cast<A>(c.saved[j]) + shift, gradient);
        }
        c.dx[j] = static_cast<T>(gradient);
      }
    });
    if (c.dbias != nullptr) c.dbias[i] = static_cast<A>(row_sum(c.dx + i * c.n, c.n));
  }
}

#define LACUNA_INSTANTIATE(T)                                                                      \
  template void activation_dropout<T>(CpuStream, const ActivationDropout<T>&);                     \
  template std::size_t activation_dropout_scratch_bytes<T>(CpuStream, std::int64_t, std::int64_t); \
  template void activation_dropout_gradient<T>(CpuStream, const ActivationDropoutGradient<T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
