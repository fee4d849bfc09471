// Values over patterns on CUDA: gather, sample (densify.cu has densify). Each output element is written once, by one thread.
#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kMaxBatchBlocks = 65535;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

unsigned batch_blocks(std::int64_t batch) { return static_cast<unsigned>(std::min(batch, kMaxBatchBlocks)); }

template <class T>
__global__ void __launch_bounds__(kThreads)
    gather_or_zero_kernel(const T* __restrict__ values, std::int64_t num_values, const std::int32_t* __restrict__ index,
                          std::int64_t num_index, std::int64_t batch, T* __restrict__ out) {
  const std::int64_t i = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= num_index) return;
  const std::int32_t at = index[i];
  for (std::int64_t b = blockIdx.z; b < batch; b += gridDim.z)
    out[b * num_index + i] = at < 0 ? T(0) : values[b * num_values + at];
}

/// `team` threads (a power of two) take a row.
template <class T>
__global__ void __launch_bounds__(kThreads) sample_kernel(const Dense<const T> a, const Csr<T> out, int team) {
  const std::int64_t thread = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const std::int64_t row = thread / team;
  if (row >= out.rows) return;
  const std::int64_t begin = out.row_offsets[row], end = out.row_offsets[row + 1];
  for (std::int64_t matrix = blockIdx.z; matrix < out.batch; matrix += gridDim.z) {
    const T* from = a.data + matrix * a.batch_stride + row * a.ld;
    T* values = out.values + matrix * out.values_stride;
#pragma unroll 4
    for (std::int64_t i = begin + thread % team; i < end; i += team) values[i] = from[out.col_indices[i]];
  }
}

}  // namespace

template <class T>
void gather_or_zero(CudaStream stream, const T* values, std::int64_t num_values, const std::int32_t* index,
                    std::int64_t num_index, std::int64_t batch, T* out) {
  if (num_index == 0 || batch == 0) return;
  const dim3 grid(static_cast<unsigned>((num_index + kThreads - 1) / kThreads), 1, batch_blocks(batch));
  gather_or_zero_kernel<<<grid, kThreads, 0, cuda(stream)>>>(values, num_values, index, num_index, batch, out);
  LACUNA_CUDA_LAUNCHED("gather_or_zero");
}

template <class T>
void sample(CudaStream stream, const Dense<const T>& a, const Csr<T>& out) {
  if (out.rows == 0 || out.nnz == 0 || out.batch == 0) return;
  const int team = out.nnz / out.rows >= 256 ? kThreads : kWarp;
  const dim3 grid(static_cast<unsigned>((out.rows * team + kThreads - 1) / kThreads), 1, batch_blocks(out.batch));
  sample_kernel<<<grid, kThreads, 0, cuda(stream)>>>(a, out, team);
  LACUNA_CUDA_LAUNCHED("sample");
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template void gather_or_zero<T>(CudaStream, const T*, std::int64_t, const std::int32_t*, std::int64_t, std::int64_t, \
                                  T*);                                                                                 \
  template void sample<T>(CudaStream, const Dense<const T>&, const Csr<T>&);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
