// Selection of whole units on CUDA: a thread per unit or group, a warp per row. It runs on update steps alone, so it is
// kept simple; the sums are those of the CPU, in the same order.
#include <algorithm>

#include "kernels/runtime/cuda_check.h"
#include "kernels/select/unit_loops.h"
#include "kernels/select/units.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kWarp = 32;
constexpr std::int64_t kMaxBlocks = 65535;  // the loops below stride over whatever is left

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

unsigned blocks_for(std::int64_t threads) {
  return static_cast<unsigned>(std::clamp<std::int64_t>((threads + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

__device__ std::int64_t global_thread() { return std::int64_t{blockIdx.x} * kThreads + threadIdx.x; }
__device__ std::int64_t num_threads() { return std::int64_t{gridDim.x} * kThreads; }

template <class T>
__global__ void __launch_bounds__(kThreads)
    unit_scores_kernel(Pattern p, const T* __restrict__ scores, std::int64_t unit_rows, std::int64_t unit_cols,
                       std::int64_t count, T* __restrict__ out) {
  for (std::int64_t unit = global_thread(); unit < count; unit += num_threads())
    out[unit] = unit_score(p, scores, unit_rows, unit_cols, unit);
}

__global__ void __launch_bounds__(kThreads)
    expand_units_kernel(Pattern p, const std::uint8_t* __restrict__ keep_unit, std::int64_t unit_rows,
                        std::int64_t unit_cols, std::uint8_t* __restrict__ keep) {
  const std::int64_t grid_cols = (p.cols + unit_cols - 1) / unit_cols;
  for (std::int64_t r = global_thread() / kWarp; r < p.rows; r += num_threads() / kWarp) {
    const std::int64_t end = entry_at(p, r, p.cols);
    for (std::int64_t i = entry_at(p, r, 0) + threadIdx.x % kWarp; i < end; i += kWarp)
      keep[i] = keep_unit[r / unit_rows * grid_cols + column_of(p, r, i) / unit_cols];
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) top_n_of_m_kernel(Pattern p, const T* __restrict__ scores, std::int64_t n,
                                                              std::int64_t m, std::uint8_t* __restrict__ keep) {
  const std::int64_t groups = (p.cols + m - 1) / m;
  for (std::int64_t i = global_thread(); i < p.rows * groups; i += num_threads())
    keep_top_n(p, scores, n, m, i / groups, i % groups, keep);
}

}  // namespace

template <class T>
void unit_scores(CudaStream stream, const Pattern& p, const T* scores, std::int64_t unit_rows, std::int64_t unit_cols,
                 T* out) {
  const std::int64_t count = ((p.rows + unit_rows - 1) / unit_rows) * ((p.cols + unit_cols - 1) / unit_cols);
  if (count == 0) return;
  unit_scores_kernel<<<blocks_for(count), kThreads, 0, cuda(stream)>>>(p, scores, unit_rows, unit_cols, count, out);
  LACUNA_CUDA_LAUNCHED("unit_scores");
}

void expand_units(CudaStream stream, const Pattern& p, const std::uint8_t* keep_unit, std::int64_t unit_rows,
                  std::int64_t unit_cols, std::uint8_t* keep) {
  if (p.rows == 0 || p.cols == 0) return;
  expand_units_kernel<<<blocks_for(p.rows * kWarp), kThreads, 0, cuda(stream)>>>(p, keep_unit, unit_rows, unit_cols,
                                                                                 keep);
  LACUNA_CUDA_LAUNCHED("expand_units");
}

template <class T>
void top_n_of_m(CudaStream stream, const Pattern& p, const T* scores, std::int64_t n, std::int64_t m,
                std::uint8_t* keep) {
  if (p.rows == 0 || p.cols == 0) return;
  const std::int64_t groups = (p.cols + m - 1) / m;
  top_n_of_m_kernel<<<blocks_for(p.rows * groups), kThreads, 0, cuda(stream)>>>(p, scores, n, m, keep);
  LACUNA_CUDA_LAUNCHED("top_n_of_m");
}

template void unit_scores<float>(CudaStream, const Pattern&, const float*, std::int64_t, std::int64_t, float*);
template void top_n_of_m<float>(CudaStream, const Pattern&, const float*, std::int64_t, std::int64_t, std::uint8_t*);

}  // namespace lacuna::kernels
