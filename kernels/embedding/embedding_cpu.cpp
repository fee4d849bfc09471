#include <algorithm>

#include "kernels/embedding/embedding.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kFeatures = 16;  // features per task: one cache line of a table row
constexpr std::int64_t kParallelFrom = 1 << 15;

bool in_table(std::int32_t token, std::int64_t vocab) { return token >= 0 && token < vocab; }

}  // namespace

std::int64_t find_out_of_range(CpuStream, const std::int32_t* indices, std::int64_t n, std::int64_t low,
                               std::int64_t high) {
  const auto* found = std::find_if(indices, indices + n, [=](std::int32_t v) { return v < low || v >= high; });
  return found == indices + n ? -1 : found - indices;
}

template <class T>
void embedding(CpuStream, const Dense<const acc_t<T>>& table, const std::int32_t* tokens, const Dense<T>& out) {
  const std::int64_t tasks = (out.rows + kFeatures - 1) / kFeatures;
#pragma omp parallel for schedule(static) if (out.rows * out.cols >= kParallelFrom)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t begin = task * kFeatures, end = std::min(begin + kFeatures, out.rows);
    for (std::int64_t j = 0; j < out.cols; ++j) {
      const bool valid = in_table(tokens[j], table.rows);
      const acc_t<T>* row = valid ? table.data + tokens[j] * table.ld : nullptr;
      for (std::int64_t f = begin; f < end; ++f) out.data[f * out.ld + j] = valid ? static_cast<T>(row[f]) : T(0);
    }
  }
}

template <class T>
std::size_t embedding_gradient_scratch_bytes(CpuStream, const Dense<const T>&, std::int64_t) {
  return 0;
}

template <class T>
void embedding_gradient(CpuStream, const Dense<const T>& dout, const std::int32_t* tokens,
                        const Dense<acc_t<T>>& dtable, void*) {
  const std::int64_t tasks = (dtable.cols + kFeatures - 1) / kFeatures;
  // Tasks own features, and take the columns in order: no two threads add to one element.
#pragma omp parallel for schedule(static) if (dout.rows * dout.cols >= kParallelFrom)
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t begin = task * kFeatures, end = std::min(begin + kFeatures, dtable.cols);
    for (std::int64_t v = 0; v < dtable.rows; ++v) {
      std::fill(dtable.data + v * dtable.ld + begin, dtable.data + v * dtable.ld + end, acc_t<T>(0));
    }
    for (std::int64_t j = 0; j < dout.cols; ++j) {
      if (!in_table(tokens[j], dtable.rows)) continue;
      acc_t<T>* row = dtable.data + tokens[j] * dtable.ld;
      for (std::int64_t f = begin; f < end; ++f) row[f] += dout.data[f * dout.ld + j];
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                        \
  template void embedding<T>(CpuStream, const Dense<const acc_t<T>>&, const std::int32_t*, const Dense<T>&);         \
  template std::size_t embedding_gradient_scratch_bytes<T>(CpuStream, const Dense<const T>&, std::int64_t);          \
  template void embedding_gradient<T>(CpuStream, const Dense<const T>&, const std::int32_t*, const Dense<acc_t<T>>&, \
                                      void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
