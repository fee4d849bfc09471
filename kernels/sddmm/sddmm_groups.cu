// A warp takes eight entries that follow one another in CSR, whatever rows they are in: even work, however uneven the
// rows, and two dependent reads from start to end. For few entries and short sums, where starting is what costs: the
// entries' places are read before the wait for the previous kernel where the pattern is settled (dependent_launch.cuh),
// and the blocks together ask A and B into L2.
#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/transpose_sum.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_groups.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256;
constexpr int kGroup = 8;  // entries a warp sums together
constexpr std::int64_t kMaxBatchBlocks = 65535;
constexpr std::int64_t kMostLines = (6 << 20) / 128;  // of A and B that are asked into L2

template <class In, class Out>
struct GroupsProblem {
  const std::int32_t* entry_rows;
  const std::int32_t* col_indices;
  const In* a;
  const In* b;
  Out* c;
  std::int64_t a_ld, b_ld, a_stride, b_stride, c_stride, nnz;
  int k;
  float scale;
  bool settled;  // entry_rows and col_indices may be read early
  unsigned a_rows, b_rows,
      lines;  // to ask into L2: rows, and lines of 128 bytes of each; lines is 0 where that is too much
};

/// kBytes of a row as they were read, 2, 4, 8 or 16 at once.
template <int kBytes>
struct Words {
  std::uint32_t word[kBytes / 4];
};
template <>
struct Words<2> {
  std::uint16_t half;
};

__device__ __forceinline__ void prefetch_l2(const void* at) { asm volatile("prefetch.global.L2 [%0];" ::"l"(at)); }

/// Zeros, without reading, when `in` is false.
template <int kBytes, class In>
__device__ __forceinline__ Words<kBytes> load(const In* from, bool in) {
  Words<kBytes> x = {};
  if (!in) return x;
  if constexpr (kBytes == 16) {
    const uint4 v = __ldg(reinterpret_cast<const uint4*>(from));
    x = {{v.x, v.y, v.z, v.w}};
  } else if constexpr (kBytes == 8) {
    const uint2 v = __ldg(reinterpret_cast<const uint2*>(from));
    x = {{v.x, v.y}};
  } else if constexpr (kBytes == 4) {
    x.word[0] = __ldg(reinterpret_cast<const std::uint32_t*>(from));
  } else {
    x.half = __ldg(reinterpret_cast<const std::uint16_t*>(from));
  }
  return x;
}

/// sum + x * y, element by element in order.
template <class In, int kBytes>
__device__ __forceinline__ float multiply_add(const Words<kBytes>& x, const Words<kBytes>& y, float sum) {
  if constexpr (kBytes == 2) {
    return fmaf(__uint_as_float(std::uint32_t{x.half} << 16), __uint_as_float(std::uint32_t{y.half} << 16), sum);
  } else {
#pragma unroll
    for (int i = 0; i < kBytes / 4; ++i) {
      if constexpr (sizeof(In) == 4) {
        sum = fmaf(__uint_as_float(x.word[i]), __uint_as_float(y.word[i]), sum);
      } else {  // two bf16 a word: the upper half of an f32 each
        sum = fmaf(__uint_as_float(x.word[i] << 16), __uint_as_float(y.word[i] << 16), sum);
        sum = fmaf(__uint_as_float(x.word[i] & 0xffff0000u), __uint_as_float(y.word[i] & 0xffff0000u), sum);
      }
    }
    return sum;
  }
}

template <int kBytes, class In, class Out>
__global__ void __launch_bounds__(kThreads, 3) sddmm_groups_kernel(const GroupsProblem<In, Out> p) {
  constexpr int kVector = kBytes / sizeof(In), kSpan = kVector * kWarp;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
  if (!p.settled) cudaGridDependencySynchronize();
#endif
  const int lane = threadIdx.x % kWarp;
  const std::int64_t first = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) / kWarp * kGroup;
  // A group's missing entries repeat its last, and so does a group past the end.
  const std::int64_t entry = min(first + lane % kGroup, p.nnz - 1);
  const int row = __ldg(p.entry_rows + entry), column = __ldg(p.col_indices + entry);
  for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < p.lines * (p.a_rows + p.b_rows);
       i += gridDim.x * kThreads) {
    const unsigned line_row = i / p.lines, at = i % p.lines * (128 / sizeof(In));
    prefetch_l2(line_row < p.a_rows ? p.a + blockIdx.z * p.a_stride + line_row * p.a_ld + at
                                    : p.b + blockIdx.z * p.b_stride + (line_row - p.a_rows) * p.b_ld + at);
  }
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
  if (first >= p.nnz) return;
  const In* a = p.a + blockIdx.z * p.a_stride + lane * kVector;
  const In* b = p.b + blockIdx.z * p.b_stride + lane * kVector;
  float sums[kGroup] = {};
  if (__all_sync(0xffffffffu, row == __shfl_sync(0xffffffffu, row, 0))) {
    const In* from = a + row * p.a_ld;
#pragma unroll 1
    for (int i = 0; i < p.k; i += kSpan) {
      const bool in = i + lane * kVector < p.k;
      const Words<kBytes> left = load<kBytes>(from + i, in);
      Words<kBytes> right[kGroup];
#pragma unroll
      for (int j = 0; j < kGroup; ++j)
        right[j] = load<kBytes>(b + __shfl_sync(0xffffffffu, column, j) * p.b_ld + i, in);
#pragma unroll
      for (int j = 0; j < kGroup; ++j) sums[j] = multiply_add<In>(left, right[j], sums[j]);
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < p.k; i += kSpan) {
      const bool in = i + lane * kVector < p.k;
#pragma unroll
      for (int half = 0; half < kGroup; half += kGroup / 2) {  // of the group, so that its reads fit registers
        Words<kBytes> left[kGroup / 2], right[kGroup / 2];
#pragma unroll
        for (int j = 0; j < kGroup / 2; ++j) {
          left[j] = load<kBytes>(a + __shfl_sync(0xffffffffu, row, half + j) * p.a_ld + i, in);
          right[j] = load<kBytes>(b + __shfl_sync(0xffffffffu, column, half + j) * p.b_ld + i, in);
        }
#pragma unroll
        for (int j = 0; j < kGroup / 2; ++j) sums[half + j] = multiply_add<In>(left[j], right[j], sums[half + j]);
      }
    }
  }
  const float sum = p.scale * transpose_sum<kWarp>(sums, lane);
  if (lane < kGroup && first + lane < p.nnz) {
    Out* to = p.c + blockIdx.z * p.c_stride + first + lane;
    if constexpr (sizeof(Out) == 2)
      *to = to_bf16(sum);
    else
      *to = sum;
  }
}

/// The widest read, in bytes, that every row of the operand allows.
template <class In>
int read_width(const Dense<const In>& x) {
  int width = 16;
  const auto fits = [&](std::int64_t elements) {
    return elements * static_cast<std::int64_t>(sizeof(In)) % width == 0;
  };
  while (width > static_cast<int>(sizeof(In)) &&
         (reinterpret_cast<std::uintptr_t>(x.data) % width != 0 || !fits(x.cols) || !fits(x.ld) ||
          (x.batch > 1 && !fits(x.batch_stride)))) {
    width /= 2;
  }
  return width;
}

template <int kBytes, class In, class Out>
void launch(CudaStream stream, GroupsProblem<In, Out> p, std::int64_t batch) {
  constexpr std::int64_t kBlockEntries = kThreads / kWarp * kGroup;
  const auto blocks = static_cast<unsigned>((p.nnz + kBlockEntries - 1) / kBlockEntries);
  for (std::int64_t first = 0; first < batch; first += kMaxBatchBlocks) {
    const dim3 grid(blocks, 1, static_cast<unsigned>(std::min(batch - first, kMaxBatchBlocks)));
    launch_early(stream, sddmm_groups_kernel<kBytes, In, Out>, grid, kThreads, 0, 1,
                 p);
    p.a += kMaxBatchBlocks * p.a_stride;
    p.b += kMaxBatchBlocks * p.b_stride;
    p.c += kMaxBatchBlocks * p.c_stride;
  }
}

}  // namespace

template <class In, class Out>
void sddmm_groups(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, const Csr<Out>& c, float scale,
                  const std::int32_t* entry_rows) {
  if (c.nnz == 0 || c.batch == 0) return;
  const std::int64_t lines = (a.cols * static_cast<std::int64_t>(sizeof(In)) + 127) / 128;
  const bool fits_l2 = c.nnz <= 1 << 28 && (a.rows + b.rows) * c.batch <= kMostLines / std::max<std::int64_t>(lines, 1);
  const GroupsProblem<In, Out> p{.entry_rows = entry_rows,
                                 .col_indices = c.col_indices,
                                 .a = a.data,
                                 .b = b.data,
                                 .c = c.values,
                                 .a_ld = a.ld,
                                 .b_ld = b.ld,
                                 .a_stride = a.batch_stride,
                                 .b_stride = b.batch_stride,
                                 .c_stride = c.values_stride,
                                 .nnz = c.nnz,
                                 .k = static_cast<int>(a.cols),
                                 .scale = scale,
                                 .settled = c.settled,
                                 .a_rows = static_cast<unsigned>(a.rows),
                                 .b_rows = static_cast<unsigned>(b.rows),
                                 .lines = fits_l2 ? static_cast<unsigned>(lines) : 0};
  switch (std::min(read_width(a), read_width(b))) {
    case 16:
      return launch<16>(stream, p, c.batch);
    case 8:
      return launch<8>(stream, p, c.batch);
    case 4:
      return launch<4>(stream, p, c.batch);
    default:
      if constexpr (sizeof(In) == 2) launch<2>(stream, p, c.batch);
  }
}

template void sddmm_groups<float, float>(CudaStream, const Dense<const float>&, const Dense<const float>&,
                                         const Csr<float>&, float, const std::int32_t*);
template void sddmm_groups<Bf16, float>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&,
                                        const Csr<float>&, float, const std::int32_t*);
template void sddmm_groups<Bf16, Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&, const Csr<Bf16>&,
                                       float, const std::int32_t*);

}  // namespace lacuna::kernels
