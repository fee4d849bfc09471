#include <cuda_runtime.h>

#include "kernels/dropout/pattern_dropout.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;

/// A warp per row of the batch.
__global__ void __launch_bounds__(kThreads)
    pattern_dropout_kernel(Csr<const float> x, float* y, std::uint32_t threshold, float keep_scale, std::uint64_t seed,
                           RandomSequence sequence, std::int64_t first_matrix) {
  const std::int64_t i = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / 32;
  if (i >= x.batch * x.rows) return;
  const std::int64_t r = i % x.rows, at = i / x.rows * x.values_stride;
  const RowKey key = dropout_row_key(seed, sequence, first_matrix + i / x.rows, x.rows, r);
  const std::int64_t end = x.row_offsets[r + 1];
  for (std::int64_t e = x.row_offsets[r] + threadIdx.x % 32; e < end; e += 32) {
    const std::uint32_t column = static_cast<std::uint32_t>(x.col_indices[e]);
    const bool dropped = is_dropped(key, dropout_column_word(column), threshold);
    y[at + e] = dropped ? 0.0f : x.values[at + e] * keep_scale;
  }
}

}  // namespace

template <>
void pattern_dropout<float>(CudaStream stream, const Csr<const float>& x, float* y, double p, std::uint64_t seed,
                            RandomSequence sequence, std::int64_t first_matrix) {
  const std::int64_t rows = x.batch * x.rows;
  if (rows == 0) return;
  const auto blocks = static_cast<unsigned>((rows + kThreads / 32 - 1) / (kThreads / 32));
  pattern_dropout_kernel<<<blocks, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      x, y, dropout_threshold(p), static_cast<float>(1 / (1 - p)), seed, sequence, first_matrix);
  LACUNA_CUDA_LAUNCHED("pattern_dropout");
}

}  // namespace lacuna::kernels
