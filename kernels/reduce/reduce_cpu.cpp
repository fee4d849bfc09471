#include <algorithm>

#include "kernels/reduce/reduce.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kChunk = 16384;       // elements behind one partial sum
constexpr std::int64_t kParallelFrom = 1 << 16;

std::int64_t chunks_of(std::int64_t n) { return (n + kChunk - 1) / kChunk; }

/// Sum of f(x[i]) in eight interleaved double accumulators: vectorises, and the order is fixed.
template <class T, class F>
double chunk_sum(const T* x, std::int64_t n, F f) {
  constexpr int kLanes = 8;
  double lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) lanes[lane] += f(static_cast<double>(x[i + lane]));
  }
  for (int lane = 0; i < n; ++i, ++lane) lanes[lane] += f(static_cast<double>(x[i]));
  double total = 0;
  for (const double lane : lanes) total += lane;
  return total;
}

/// partials[c] = sum of f over chunk c; each chunk is one thread's, so threads do not change the order.
template <class T, class F>
void chunk_sums(const T* x, std::int64_t n, F f, double* partials) {
  const std::int64_t chunks = chunks_of(n);
#pragma omp parallel for schedule(static) if (n >= kParallelFrom)
  for (std::int64_t c = 0; c < chunks; ++c) {
    const std::int64_t begin = c * kChunk;
    partials[c] = chunk_sum(x + begin, std::min(kChunk, n - begin), f);
  }
}

double total_of(const double* partials, std::int64_t count) {
  double total = 0;
  for (std::int64_t c = 0; c < count; ++c) total += partials[c];
  return total;
}

}  // namespace

std::size_t sum_scratch_bytes(CpuStream, std::int64_t n) {
  return static_cast<std::size_t>(chunks_of(n)) * sizeof(double);
}

template <class T>
void sum(CpuStream, const T* x, std::int64_t n, double factor, acc_t<T>* out, void* scratch) {
  auto* partials = static_cast<double*>(scratch);
  chunk_sums(x, n, [](double v) { return v; }, partials);
  out[0] = static_cast<acc_t<T>>(factor * total_of(partials, chunks_of(n)));
}

std::size_t sum_columns_scratch_bytes(CpuStream, std::int64_t, std::int64_t) { return 0; }

template <class T>
void sum_columns(CpuStream, const Dense<const T>& x, acc_t<T>* out, void*) {
#pragma omp parallel for schedule(static) if (x.rows * x.cols >= kParallelFrom)
  for (std::int64_t i = 0; i < x.rows; ++i) {
    out[i] = static_cast<acc_t<T>>(chunk_sum(x.data + i * x.ld, x.cols, [](double v) { return v; }));
  }
}

template <class T>
std::size_t sum_of_squares_scratch_bytes(CpuStream, const Span<T>* spans, std::int64_t count) {
  std::int64_t chunks = 0;
  for (std::int64_t s = 0; s < count; ++s) chunks += chunks_of(spans[s].size);
  return static_cast<std::size_t>(chunks) * sizeof(double);
}

template <class T>
void sum_of_squares(CpuStream, const Span<T>* spans, std::int64_t count, acc_t<T>* out, void* scratch) {
  auto* partials = static_cast<double*>(scratch);
  std::int64_t chunks = 0;
  for (std::int64_t s = 0; s < count; ++s) {
    chunk_sums(spans[s].data, spans[s].size, [](double v) { return v * v; }, partials + chunks);
    chunks += chunks_of(spans[s].size);
  }
  out[0] = static_cast<acc_t<T>>(total_of(partials, chunks));
}

template <class T>
void broadcast_rows(CpuStream, const acc_t<T>* row_values, double factor, T* y, std::int64_t m, std::int64_t n) {
  if (m == 0 || n == 0) return;
  const auto typed = static_cast<acc_t<T>>(factor);
#pragma omp parallel for schedule(static) if (m * n >= kParallelFrom)
  for (std::int64_t i = 0; i < m; ++i) std::fill_n(y + i * n, n, static_cast<T>(typed * row_values[i]));
}

#define LACUNA_INSTANTIATE(T)                                                                    \
  template void sum<T>(CpuStream, const T*, std::int64_t, double, acc_t<T>*, void*);             \
  template void sum_columns<T>(CpuStream, const Dense<const T>&, acc_t<T>*, void*);              \
  template std::size_t sum_of_squares_scratch_bytes<T>(CpuStream, const Span<T>*, std::int64_t); \
  template void sum_of_squares<T>(CpuStream, const Span<T>*, std::int64_t, acc_t<T>*, void*);    \
  template void broadcast_rows<T>(CpuStream, const acc_t<T>*, double, T*, std::int64_t, std::int64_t);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
