#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/loss_gradient.h"

namespace lacuna::kernels {
namespace {

// Columns walked together: with kMostFusedClasses classes 256 KiB of f32, which a core's cache holds.
constexpr std::int64_t kColumns = 64;

template <class T>
Dense<T> columns_of(const Dense<T>& matrix, std::int64_t begin, std::int64_t width) {
  return {matrix.data + begin, matrix.rows, width, matrix.ld};
}

}  // namespace

template <class T>
std::size_t loss_gradient_scratch_bytes(CpuStream, std::int64_t n) {
  return static_cast<std::size_t>(n) * sizeof(wide_t<T>);
}

template <class T>
void loss_gradient(CpuStream stream, const LossGradient<T>& c, void* scratch) {
  using A = wide_t<T>;
  const std::int64_t n = c.logits.cols, blocks = (n + kColumns - 1) / kColumns;
  auto* losses = static_cast<A*>(scratch);  // [n]
  const auto count = static_cast<A>(n - std::count_if(c.targets, c.targets + n, [](auto t) { return t < 0; }));
#pragma omp parallel for schedule(static) if (worth_threads(c.logits.rows * n))
  for (std::int64_t block = 0; block < blocks; ++block) {
    const std::int64_t begin = block * kColumns, width = std::min(kColumns, n - begin);
    const Dense<const T> logits = columns_of(c.logits, begin, width);
    const std::int32_t* targets = c.targets + begin;
    A log_sum_exp[kColumns], block_loss, block_count;
    const A one = 1;
    // The two passes, the second while the block is in cache.
    cross_entropy<T>(stream, logits, targets, c.label_smoothing, &block_loss, {log_sum_exp, &block_count},
                     losses + begin);
    cross_entropy_gradient<T>(stream, logits, targets, c.label_smoothing, &one, {log_sum_exp, &count},
                              columns_of(c.dlogits, begin, width));
  }
  double sum = 0;
  for (std::int64_t j = 0; j < n; ++j)
    if (c.targets[j] >= 0) sum += static_cast<double>(losses[j]);
  c.loss[0] = static_cast<A>(sum / static_cast<double>(count));  // 0 / 0 = NaN, as in torch
}

template <class T>
void scale_by(CpuStream, const wide_t<T>* factor, T* x, std::int64_t n) {
  const wide_t<T> f = factor[0];
  if (f == wide_t<T>(1)) return;
#pragma omp parallel for schedule(static) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) x[i] = static_cast<T>(f * static_cast<wide_t<T>>(x[i]));
}

#define LACUNA_INSTANTIATE(T)                                                   \
  template std::size_t loss_gradient_scratch_bytes<T>(CpuStream, std::int64_t); \
  template void loss_gradient<T>(CpuStream, const LossGradient<T>&, void*);     \
  template void scale_by<T>(CpuStream, const wide_t<T>*, T*, std::int64_t);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
