// A block takes 128 rows of some columns: each of its warps adds every eighth row, 16 bytes a lane, then the warps' sums are
// added in order. The chunks' sums are added by sum_parts.
#include "kernels/common/pack.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sum_parts/sum_parts.h"
#include "kernels/sum_rows/sum_rows.h"

namespace lacuna::kernels {
namespace {

constexpr int kWarps = 8;
constexpr int kRowsPerWarp = 16;
constexpr int kChunk = kWarps * kRowsPerWarp;

std::int64_t chunks_of(std::int64_t rows) { return (rows + kChunk - 1) / kChunk; }

/// sums[chunk, j] = the sum of 128 rows of x; block (x, y): kWarp * kPack columns, a chunk.
template <class T, int kPack>
__global__ void __launch_bounds__(kWarps* kWarp)
    chunk_sums_kernel(const T* __restrict__ x, std::int64_t ld, std::int64_t rows, std::int64_t cols,
                      float* __restrict__ sums) {
  __shared__ float shared[kWarps][kWarp * kPack];
  const int lane = static_cast<int>(threadIdx.x) % kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  const std::int64_t first_column = std::int64_t{blockIdx.x} * (kWarp * kPack), column = first_column + lane * kPack;
  const std::int64_t first_row = std::int64_t{blockIdx.y} * kChunk + warp;
  float sum[kPack] = {};
  const T* const from = x + first_row * ld + column;
  if (column < cols && first_row + (kRowsPerWarp - 1) * kWarps < rows) {
    Pack<T, kPack> packs[kRowsPerWarp];  // all are under way before the first is added
#pragma unroll
    for (int i = 0; i < kRowsPerWarp; ++i) packs[i] = load_pack<kPack>(from + i * kWarps * ld);
#pragma unroll
    for (int i = 0; i < kRowsPerWarp; ++i)
#pragma unroll
      for (int j = 0; j < kPack; ++j) sum[j] += static_cast<float>(packs[i].v[j]);
  } else if (column < cols) {
#pragma unroll 1
    for (int i = 0; first_row + i * kWarps < rows; ++i) {  // the last chunk: fewer than 16
      const Pack<T, kPack> pack = load_pack<kPack>(from + i * kWarps * ld);
#pragma unroll
      for (int j = 0; j < kPack; ++j) sum[j] += static_cast<float>(pack.v[j]);
    }
  }
#pragma unroll
  for (int j = 0; j < kPack; ++j) shared[warp][lane * kPack + j] = sum[j];
  __syncthreads();
  for (int j = static_cast<int>(threadIdx.x); j < kWarp * kPack && first_column + j < cols; j += kWarps * kWarp) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += shared[w][j];
    sums[blockIdx.y * cols + first_column + j] = total;
  }
}

}  // namespace

template <class T>
std::size_t sum_rows_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t cols) {
  const std::int64_t chunks = chunks_of(rows);
  return chunks <= 1 ? 0 : static_cast<std::size_t>(chunks * cols) * sizeof(float);
}

template <class T>
void sum_rows(CudaStream stream, const Dense<const T>& x, acc_t<T>* out, void* scratch) {
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  if (x.cols == 0) return;
  if (x.rows == 0) {
    LACUNA_CUDA_CHECK(cudaMemsetAsync(out, 0, static_cast<std::size_t>(x.cols) * sizeof(float), handle));
    return;
  }
  constexpr std::int64_t kMostChunks = 65535;  // of a launch: a grid's y
  const std::int64_t chunks = chunks_of(x.rows);
  float* const sums = chunks == 1 ? out : static_cast<float*>(scratch);
  with_widest_pack<T>(x.cols | x.ld, {x.data}, [&](auto pack) {
    constexpr int kPack = pack, kColumns = kWarp * kPack;
    const auto across = static_cast<unsigned>((x.cols + kColumns - 1) / kColumns);
    for (std::int64_t first = 0; first < chunks; first += kMostChunks) {
      const auto count = static_cast<unsigned>(chunks - first < kMostChunks ? chunks - first : kMostChunks);
      chunk_sums_kernel<T, kPack><<<dim3(across, count), kWarps * kWarp, 0, handle>>>(
          x.data + first * kChunk * x.ld, x.ld, x.rows - first * kChunk, x.cols, sums + first * x.cols);
      LACUNA_CUDA_LAUNCHED("sum_rows");
    }
  });
  if (chunks > 1) sum_parts<float>(stream, sums, chunks, x.cols, out);
}

#define LACUNA_INSTANTIATE(T)                                                             \
  template std::size_t sum_rows_scratch_bytes<T>(CudaStream, std::int64_t, std::int64_t); \
  template void sum_rows<T>(CudaStream, const Dense<const T>&, acc_t<T>*, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
