// SDDMM on CUDA (Gale et al., SC 2020, section VI): c[i] = scale * dot(A[row i], B[column i]).
//
// sddmm_rows: a subwarp takes a row and eight of its entries at a time. It holds a piece of A's row in registers, reads
// the same piece of eight rows of B, and ends with a transposing reduction that leaves entry j's sum in lane j. The
// block's subwarps hold rows of similar length and the same share of each, so they meet in the same rows of B, in L1.
// sddmm_entries: few entries and a long sum: a block takes four entries and splits the sum.
//
// Each sum's order is fixed by k and the vector width alone, so results repeat.
#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/common/transpose_sum.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm.h"

namespace lacuna::kernels {

namespace {

constexpr int kMaxRowThreads = 1024;  // leaves each 64 registers
constexpr int kEntryThreads = 256;
constexpr int kGroup = 8;         // entries a subwarp sums together
constexpr int kBlockEntries = 4;  // entries a block of sddmm_entries sums together
constexpr int kLongSum = 128;     // from here on a warp takes a row: four rows fewer in flight, less traffic through L1
constexpr std::int64_t kMaxBatchBlocks = 65535;

struct SddmmProblem {
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  const std::int32_t* row_order;
  const float* a;
  const float* b;
  float* c;
  std::int64_t a_ld, b_ld;
  std::uint32_t b_row_bytes;
  std::int64_t a_stride, b_stride, c_stride;  // elements between matrices of the batch
  std::int64_t m, nnz, batch;
  int k;
  int splits;  // parts of each row, each another block's
  float scale;
};

template <int kCount>
struct Vector {
  float x[kCount];
};

/// kCount floats, or zeros without reading when `in` is false.
template <int kCount>
__device__ __forceinline__ Vector<kCount> load_vector(const float* from, bool in) {
  Vector<kCount> out = {};
  if (!in) return out;
  if constexpr (kCount == 4) {
    const float4 v = __ldg(reinterpret_cast<const float4*>(from));
    out = {{v.x, v.y, v.z, v.w}};
  } else if constexpr (kCount == 2) {
    const float2 v = __ldg(reinterpret_cast<const float2*>(from));
    out = {{v.x, v.y}};
  } else {
    out.x[0] = __ldg(from);
  }
  return out;
}

/// Adds to sums[j] the dot product of `left`, a piece of A's row, and the same piece of row column[j] of B.
///   b  this lane's place in the piece, in B's row 0     left_over  what remains of the sum from that place on
/// kWhole: nothing of the piece lies past the end of the sum.
template <bool kWhole, int kVector, int kLanes, int kSteps>
__device__ __forceinline__ void add_piece(const Vector<kVector> (&left)[kSteps], const float* b,
                                          std::uint32_t b_row_bytes, int column, int left_over, float (&sums)[kGroup]) {
  constexpr int kTogether = 8 / kSteps;  // entries whose eight loads are in flight together
#pragma unroll 1
  for (int first = 0; first < kGroup; first += kTogether) {
    Vector<kVector> right[kTogether][kSteps];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      const int entry_column = __shfl_sync(0xffffffffu, column, first + j, kLanes);
      const float* from = reinterpret_cast<const float*>(
          reinterpret_cast<const char*>(b) + static_cast<std::uint64_t>(static_cast<std::uint32_t>(entry_column)) * b_row_bytes);
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        right[j][s] = load_vector<kVector>(from + s * kVector * kLanes, kWhole || s * kVector * kLanes < left_over);
      }
    }
    // The sums turn round, so that a loop that is not unrolled names registers all the same.
    float done[kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) {
      done[j] = sums[j];
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
#pragma unroll
        for (int v = 0; v < kVector; ++v) done[j] = fmaf(left[s].x[v], right[j][s].x[v], done[j]);
      }
    }
#pragma unroll
    for (int j = 0; j + kTogether < kGroup; ++j) sums[j] = sums[j + kTogether];
#pragma unroll
    for (int j = 0; j < kTogether; ++j) sums[kGroup - kTogether + j] = done[j];
  }
}

template <int kVector, int kLanes, int kSteps>
__global__ void __launch_bounds__(kMaxRowThreads, 1) sddmm_rows(const SddmmProblem p) {
  constexpr int kSpan = kVector * kLanes;
  constexpr int kPiece = kSpan * kSteps;  // of the sum, at a time
  wait_for_previous();
  const int lane = threadIdx.x % kLanes;
  const std::int64_t position = std::int64_t{blockIdx.x} * (blockDim.x / kLanes) + threadIdx.x / kLanes;

  int row = 0;
  int begin = 0, end = 0;  // this block's share of the row's entries, in whole groups
  if (position < p.m) {
    row = p.row_order ? p.row_order[position] : static_cast<int>(position);
    begin = p.row_offsets[row];
    end = p.row_offsets[row + 1];
    const std::int64_t groups = (std::int64_t{end} - begin + kGroup - 1) / kGroup;
    const std::int64_t from = groups * blockIdx.y / p.splits, to = groups * (blockIdx.y + 1) / p.splits;
    end = static_cast<int>(min(std::int64_t{end}, begin + to * kGroup));
    begin = static_cast<int>(begin + from * kGroup);
  }
  // The warp stays together for its exchanges: all subwarps make as many rounds as the longest.
  const unsigned length = begin < end ? static_cast<unsigned>(end - begin) : 0u;
  const unsigned rounds = __reduce_max_sync(0xffffffffu, (length + kGroup - 1) / kGroup);
  if (rounds == 0) return;

  const float* a = p.a + blockIdx.z * p.a_stride + row * p.a_ld + lane * kVector;
  const float* b = p.b + blockIdx.z * p.b_stride + lane * kVector;
  float* c = p.c + blockIdx.z * p.c_stride;
  const int slot = lane % kGroup;
  Vector<kVector> left[kSteps] = {};

  // A group's missing entries keep an earlier column, or 0: their sums are made of rows of B that exist, and dropped.
  int next_column = slot < end - begin ? __ldg(p.col_indices + begin + slot) : 0;
  for (unsigned round = 0; round < rounds; ++round) {
    // Not as count = max(0, min(remaining, kGroup)) and count == kGroup: nvcc 13.0 makes one VIMNMX.RELU of that and takes
    // the comparison from its predicate, which on sm_90 says "not a whole group" of every row; only first groups were done.
    const int remaining = end - begin;
    const int column = next_column;
    if (slot < end - begin - kGroup) next_column = __ldg(p.col_indices + begin + kGroup + slot);
    float sums[kGroup] = {};
    for (int piece = 0; piece < p.k; piece += kPiece) {
      const int left_over = p.k - piece - lane * kVector;
      if (round == 0 || p.k > kPiece) {  // a short row of A stays in registers
#pragma unroll
        for (int s = 0; s < kSteps; ++s) left[s] = load_vector<kVector>(a + piece + s * kSpan, s * kSpan < left_over);
      }
      if (piece + kPiece <= p.k) {
        add_piece<true, kVector, kLanes, kSteps>(left, b + piece, p.b_row_bytes, column, left_over, sums);
      } else {
        add_piece<false, kVector, kLanes, kSteps>(left, b + piece, p.b_row_bytes, column, left_over, sums);
      }
    }
    const float sum = transpose_sum<kLanes>(sums, lane);
    if (lane < kGroup && lane < remaining) c[begin + lane] = p.scale * sum;
    begin = remaining > kGroup ? begin + kGroup : end;
  }
}

template <int kVector>
__global__ void __launch_bounds__(kEntryThreads) sddmm_entries(const SddmmProblem p) {
  __shared__ float shared[kBlockEntries * kWarp];
  __shared__ int rows[kBlockEntries];
  wait_for_previous();
  const std::int64_t first = std::int64_t{blockIdx.x} * kBlockEntries;
  if (threadIdx.x < kBlockEntries) {
    // The last row whose offset is not past the entry: empty rows share their offset with the row after them.
    const std::int64_t entry = min(first + threadIdx.x, p.nnz - 1);
    std::int64_t low = 0, high = p.m;
    while (high - low > 1) {
      const std::int64_t middle = (low + high) / 2;
      if (p.row_offsets[middle] <= entry) low = middle;
      else high = middle;
    }
    rows[threadIdx.x] = static_cast<int>(low);
  }
  __syncthreads();

  const float* a[kBlockEntries];
  const float* b[kBlockEntries];
  float sums[kBlockEntries] = {};
#pragma unroll
  for (int j = 0; j < kBlockEntries; ++j) {
    a[j] = p.a + blockIdx.z * p.a_stride + rows[j] * p.a_ld;
    b[j] = p.b + blockIdx.z * p.b_stride + p.col_indices[min(first + j, p.nnz - 1)] * p.b_ld;
  }
#pragma unroll 2
  for (int i = threadIdx.x * kVector; i < p.k; i += kEntryThreads * kVector) {
#pragma unroll
    for (int j = 0; j < kBlockEntries; ++j) {
      const Vector<kVector> left = load_vector<kVector>(a[j] + i, true), right = load_vector<kVector>(b[j] + i, true);
#pragma unroll
      for (int v = 0; v < kVector; ++v) sums[j] = fmaf(left.x[v], right.x[v], sums[j]);
    }
  }
  block_sum(sums, shared);
#pragma unroll
  for (int j = 0; j < kBlockEntries; ++j) {
    if (threadIdx.x == 0 && first + j < p.nnz) p.c[blockIdx.z * p.c_stride + first + j] = p.scale * sums[j];
  }
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// Runs launch(part, matrices) over as many matrices at a time as a grid's z takes.
template <class F>
void for_batches(const SddmmProblem& p, const F& launch) {
  for (std::int64_t first = 0; first < p.batch; first += kMaxBatchBlocks) {
    SddmmProblem part = p;
    part.a += first * p.a_stride;
    part.b += first * p.b_stride;
    part.c += first * p.c_stride;
    launch(part, static_cast<unsigned>(std::min(p.batch - first, kMaxBatchBlocks)));
  }
}

template <int kVector, int kLanes, int kSteps>
void launch_rows(CudaStream stream, SddmmProblem p, int multiprocessors) {
  // The largest block that occupies the device: the more rows it holds, the more of B they share in L1. Rows are split
  // for two waves of blocks, as long as each part of an average row keeps a group.
  const std::int64_t most = std::clamp<std::int64_t>(p.nnz / p.m / kGroup, 1, 65535);
  int threads = kMaxRowThreads;
  std::int64_t blocks = 0;
  for (;; threads /= 2) {
    blocks = ceil_div(p.m, threads / kLanes);
    const std::int64_t slots = std::int64_t{multiprocessors} * (kMaxRowThreads / threads);
    p.splits = static_cast<int>(std::clamp<std::int64_t>(ceil_div(2 * slots, blocks * p.batch), 1, most));
    if (threads == 128 || blocks * p.batch * p.splits * 8 >= slots * 7) break;
  }
  for_batches(p, [&](const SddmmProblem& part, unsigned matrices) {
    const dim3 grid(static_cast<unsigned>(blocks), static_cast<unsigned>(p.splits), matrices);
    launch_early(stream, sddmm_rows<kVector, kLanes, kSteps>, grid,
                 static_cast<unsigned>(threads), 0, 1, part);
  });
}

template <int kVector>
void launch_entries(CudaStream stream, const SddmmProblem& p) {
  for_batches(p, [&](const SddmmProblem& part, unsigned matrices) {
    const dim3 grid(static_cast<unsigned>(ceil_div(p.nnz, kBlockEntries)), 1, matrices);
    launch_early(stream, sddmm_entries<kVector>, grid, kEntryThreads, 0, 1, part);
  });
}

/// Whether vectors of `width` floats can be read along every row.
template <class T>
bool fits(const Dense<T>& x, std::int64_t batch, int width) {
  return reinterpret_cast<std::uintptr_t>(x.data) % (sizeof(float) * width) == 0 && x.cols % width == 0 &&
         x.ld % width == 0 && (batch <= 1 || x.batch_stride % width == 0);
}

}  // namespace

template <class T>
void sddmm(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale) {
  if (c.nnz == 0 || c.batch == 0) return;
  if (a.ld > 0x3fffffff || b.ld > 0x3fffffff) {
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue), "sddmm: rows of 2^30 elements or more", false};
  }
  SddmmProblem p = {};
  p.row_offsets = c.row_offsets;
  p.col_indices = c.col_indices;
  p.row_order = c.row_order;
  p.a = a.data;
  p.b = b.data;
  p.c = c.values;
  p.a_ld = a.ld;
  p.b_ld = b.ld;
  p.b_row_bytes = static_cast<std::uint32_t>(b.ld) * sizeof(float);
  p.a_stride = a.batch_stride;
  p.b_stride = b.batch_stride;
  p.c_stride = c.values_stride;
  p.m = c.rows;
  p.k = static_cast<int>(a.cols);
  p.nnz = c.nnz;
  p.batch = c.batch;
  p.scale = scale;
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  const int width = fits(a, c.batch, 4) && fits(b, c.batch, 4) ? 4 : fits(a, c.batch, 2) && fits(b, c.batch, 2) ? 2 : 1;
  // Too few entries to occupy the device a group of eight at a time.
  if (p.k >= 2048 && p.nnz * p.batch < std::int64_t{multiprocessors} * 256) {
    if (width == 4) return launch_entries<4>(stream, p);
    return launch_entries<1>(stream, p);
  }
  if (width == 4 && p.k <= 64) return launch_rows<4, 8, 2>(stream, p, multiprocessors);
  if (width == 4 && p.k >= kLongSum) return launch_rows<4, 32, 1>(stream, p, multiprocessors);
  if (width == 4) return launch_rows<4, 8, 4>(stream, p, multiprocessors);
  if (width == 2) return launch_rows<2, 16, 4>(stream, p, multiprocessors);
  launch_rows<1, 32, 4>(stream, p, multiprocessors);
}

#define LACUNA_INSTANTIATE(T) \
  template void sddmm<T>(CudaStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&, T);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
