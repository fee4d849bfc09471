// Sparse softmax on CUDA: one pass over memory. A team (8 lanes, a warp or a block, by the average row) holds its row in
// registers; rows too long for that are taken by the whole block, which keeps as much as fits in shared memory and
// reads the rest twice.
//
// A row lies where it lies: its first elements up to a 16-byte boundary and its last ones are read one by one (the
// `edge`), all between as vectors. The order of a sum follows from the row's length and place alone.
#include <algorithm>

#include "kernels/common/reduce.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/sparse_softmax/sparse_softmax.h"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kMaxBatchBlocks = 65535;

/// kLanes threads that share a row: part of a warp, or (more than 32) a whole block.
template <int kLanes>
struct Team {
  int rank;
  float* shared;  // [kWarp], blocks only

  __device__ float sum(float x) const {
    if constexpr (kLanes > kWarp) {
      float values[1] = {x};
      block_sum(values, shared);
      return values[0];
    } else {
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
      return x;
    }
  }
  __device__ float max(float x) const {
    if constexpr (kLanes > kWarp) {
      return block_max(x, shared);
    } else {
#pragma unroll
      for (int offset = kLanes / 2; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
      return x;
    }
  }
};

/// How a row falls into vectors of kWidth: `head` single elements, `vectors`, and single elements to the end.
template <int kWidth>
struct Cut {
  int head, vectors, length;
  __device__ Cut(const float* row, int length) : length(length) {
    const int past = static_cast<int>(reinterpret_cast<std::uintptr_t>(row) / sizeof(float) % kWidth);
    head = min((kWidth - past) % kWidth, length);
    vectors = (length - head) / kWidth;
  }
  /// The single element that belongs to thread `rank`, or `length`: the head's are those of 0..2, the tail's of 3..5.
  __device__ int edge(int rank) const {
    if (kWidth == 1) return length;
    if (rank < 3) return rank < head ? rank : length;
    return min(head + vectors * kWidth + rank - 3, length);
  }
};

template <int kWidth>
struct Vector {
  float x[kWidth];
};

template <int kWidth>
__device__ __forceinline__ Vector<kWidth> load(const float* from) {
  if constexpr (kWidth == 4) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    return {{v.x, v.y, v.z, v.w}};
  } else {
    return {{*from}};
  }
}

template <int kWidth>
__device__ __forceinline__ void store(float* to, const Vector<kWidth>& v) {
  if constexpr (kWidth == 4)
    *reinterpret_cast<float4*>(to) = {v.x[0], v.x[1], v.x[2], v.x[3]};
  else
    *to = v.x[0];
}

__device__ __forceinline__ float minus_infinity() { return __int_as_float(0xff800000); }

/// A thread's share of a row: kCount vectors and an edge element. What the row lacks is `absent`.
template <int kWidth, int kCount>
struct Share {
  Vector<kWidth> body[kCount];
  float edge;

  template <int kLanes>
  __device__ __forceinline__ void read(const float* row, const Cut<kWidth>& cut, int rank, float absent) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) body[i].x[j] = absent;
      if (i * kLanes + rank < cut.vectors) body[i] = load<kWidth>(row + cut.head + (i * kLanes + rank) * kWidth);
    }
    const int at = cut.edge(rank);
    edge = at < cut.length ? row[at] : absent;
  }

  template <int kLanes>
  __device__ __forceinline__ void write(float* row, const Cut<kWidth>& cut, int rank) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * kLanes + rank < cut.vectors) store<kWidth>(row + cut.head + (i * kLanes + rank) * kWidth, body[i]);
    }
    const int at = cut.edge(rank);
    if (at < cut.length) row[at] = edge;
  }

  template <class F>
  __device__ __forceinline__ void each(const F& f) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) f(body[i].x[j]);
    }
    f(edge);
  }
};

struct Forward {
  const float* s;
  float* p;
  float scale;

  __host__ __device__ void advance(std::int64_t elements) { s += elements, p += elements; }
  __device__ const float* place(std::int64_t begin) const { return s + begin; }
  static constexpr int kArrays = 1;  // that a long row keeps in shared memory

  /// p may be s: a thread has read what it overwrites.
  template <int kWidth, int kLanes, int kCount>
  __device__ __forceinline__ void row(const Team<kLanes>& team, std::int64_t begin, const Cut<kWidth>& cut) const {
    Share<kWidth, kCount> share;
    share.template read<kLanes>(s + begin, cut, team.rank, 0.0f);
    // Absent elements become -infinity only after scaling: the scale may be negative or zero.
    float largest = minus_infinity();
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const bool here = i * kLanes + team.rank < cut.vectors;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) {
        share.body[i].x[j] = here ? scale * share.body[i].x[j] : minus_infinity();
        largest = fmaxf(largest, share.body[i].x[j]);  // a NaN is passed over here and reaches the row through the sum
      }
    }
    share.edge = cut.edge(team.rank) < cut.length ? scale * share.edge : minus_infinity();
    largest = team.max(fmaxf(largest, share.edge));
    float sum = 0.0f;
    share.each([&](float& x) {
      x = expf(x - largest);
      sum += x;
    });
    // A row of -infinity alone is NaN, but a thread with nothing of it must not be: it would be NaN either way.
    const float inverse = 1.0f / team.sum(sum);
    share.each([&](float& x) { x *= inverse; });
    share.template write<kLanes>(p + begin, cut, team.rank);
  }

  /// A row of any length. kept: shared memory for its first `keep` elements.
  template <int kThreads>
  __device__ void long_row(const Team<kThreads>& team, std::int64_t begin, int length, float* kept, int keep) const {
    const float* in = s + begin;
    float* out = p + begin;
    float largest = minus_infinity(), sum = 0.0f;  // of this thread's elements so far; sum is relative to largest
    const auto take = [&](float x) {
      if (x > largest) {
        sum *= expf(largest - x);
        largest = x;
      }
      sum += largest == minus_infinity() && x == largest ? 0.0f : expf(x - largest);
    };
    const int near = min(length, keep);
#pragma unroll 8
    for (int i = team.rank; i < near; i += kThreads) kept[i] = scale * in[i];
    for (int i = team.rank; i < near; i += kThreads) take(kept[i]);
#pragma unroll 8
    for (int i = near + team.rank; i < length; i += kThreads) take(scale * in[i]);
    const float all = team.max(largest);
    const float inverse =
        1.0f / team.sum(largest == minus_infinity() && sum == 0.0f ? 0.0f : sum * expf(largest - all));
#pragma unroll 4
    for (int i = team.rank; i < near; i += kThreads) out[i] = expf(kept[i] - all) * inverse;
#pragma unroll 8
    for (int i = near + team.rank; i < length; i += kThreads) out[i] = expf(scale * in[i] - all) * inverse;
  }
};

struct Backward {
  const float* p;
  const float* dp;
  float* ds;
  float scale;

  __host__ __device__ void advance(std::int64_t elements) { p += elements, dp += elements, ds += elements; }
  __device__ const float* place(std::int64_t begin) const { return p + begin; }
  static constexpr int kArrays = 2;

  /// ds may be dp.
  template <int kWidth, int kLanes, int kCount>
  __device__ __forceinline__ void row(const Team<kLanes>& team, std::int64_t begin, const Cut<kWidth>& cut) const {
    Share<kWidth, kCount> left, right;
    left.template read<kLanes>(p + begin, cut, team.rank, 0.0f);
    right.template read<kLanes>(dp + begin, cut, team.rank, 0.0f);
    float dot = left.edge * right.edge;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) dot = fmaf(left.body[i].x[j], right.body[i].x[j], dot);
    }
    dot = team.sum(dot);
    right.edge = scale * left.edge * (right.edge - dot);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) right.body[i].x[j] = scale * left.body[i].x[j] * (right.body[i].x[j] - dot);
    }
    right.template write<kLanes>(ds + begin, cut, team.rank);
  }

  template <int kThreads>
  __device__ void long_row(const Team<kThreads>& team, std::int64_t begin, int length, float* kept, int keep) const {
    const float *left = p + begin, *right = dp + begin;
    float* kept_right = kept + keep;
    float dot = 0.0f;
    const int near = min(length, keep);
#pragma unroll 4
    for (int i = team.rank; i < near; i += kThreads) {
      kept[i] = left[i];
      kept_right[i] = right[i];
    }
    for (int i = team.rank; i < near; i += kThreads) dot = fmaf(kept[i], kept_right[i], dot);
#pragma unroll 4
    for (int i = near + team.rank; i < length; i += kThreads) dot = fmaf(left[i], right[i], dot);
    dot = team.sum(dot);
#pragma unroll 4
    for (int i = team.rank; i < near; i += kThreads) ds[begin + i] = scale * kept[i] * (kept_right[i] - dot);
#pragma unroll 4
    for (int i = near + team.rank; i < length; i += kThreads) ds[begin + i] = scale * left[i] * (right[i] - dot);
  }
};

/// A team of kLanes a row, kThreads / kLanes rows a block (one, when the block is the team).
template <class Work, int kWidth, int kThreads, int kLanes, int kCount>
__global__ void __launch_bounds__(kThreads) softmax_rows(const std::int32_t* __restrict__ row_offsets,
                                                         std::int64_t rows, std::int64_t stride, int keep, Work work) {
  constexpr int kTeams = kThreads / kLanes;
  extern __shared__ float kept[];
  __shared__ float shared[kWarp];
  const std::int64_t first = std::int64_t{blockIdx.x} * kTeams;
  const int which = threadIdx.x / kLanes;
  work.advance(blockIdx.z * stride);

  int begin = 0, length = 0;
  if (first + which < rows) {
    begin = row_offsets[first + which];
    length = row_offsets[first + which + 1] - begin;
  }
  const Cut<kWidth> cut(work.place(begin), length);
  const bool is_long = cut.vectors > kLanes * kCount;
  // A team whose row is long or empty goes along with an empty one: its warp's other teams need it in their exchanges.
  if (kLanes <= kWarp || !is_long) {
    const Cut<kWidth> own = is_long ? Cut<kWidth>(work.place(begin), 0) : cut;
    if (kLanes > kWarp || __any_sync(0xffffffffu, own.length > 0)) {
      work.template row<kWidth, kLanes, kCount>(Team<kLanes>{static_cast<int>(threadIdx.x % kLanes), shared}, begin,
                                                own);
    }
  }
  if constexpr (kTeams == 1) {
    if (is_long)
      work.template long_row<kThreads>(Team<kThreads>{static_cast<int>(threadIdx.x), shared}, begin, length, kept,
                                       keep);
  } else {
    if (!__syncthreads_or(is_long)) return;
    for (int i = 0; i < kTeams && first + i < rows; ++i) {
      const int row_begin = row_offsets[first + i];
      const int row_length = row_offsets[first + i + 1] - row_begin;
      if (Cut<kWidth>(work.place(row_begin), row_length).vectors <= kLanes * kCount) continue;
      work.template long_row<kThreads>(Team<kThreads>{static_cast<int>(threadIdx.x), shared}, row_begin, row_length,
                                       kept, keep);
    }
  }
}

struct Pattern {
  const std::int32_t* row_offsets;
  std::int64_t rows, batch, stride;
};

template <class Work, int kWidth, int kThreads, int kLanes, int kCount>
void launch_teams(CudaStream stream, const Pattern& pattern, Work work, int keep) {
  constexpr int kTeams = kThreads / kLanes;
  const auto kernel = softmax_rows<Work, kWidth, kThreads, kLanes, kCount>;
  const std::size_t bytes = sizeof(float) * keep * Work::kArrays;
  if (bytes > 48 * 1024) {
    LACUNA_CUDA_CHECK(
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
  }
  const auto blocks = static_cast<unsigned>((pattern.rows + kTeams - 1) / kTeams);
  for (std::int64_t first = 0; first < pattern.batch; first += kMaxBatchBlocks) {
    const dim3 grid(blocks, 1, static_cast<unsigned>(std::min(pattern.batch - first, kMaxBatchBlocks)));
    kernel<<<grid, kThreads, bytes, static_cast<cudaStream_t>(stream.handle)>>>(pattern.row_offsets, pattern.rows,
                                                                                pattern.stride, keep, work);
    LACUNA_CUDA_LAUNCHED("sparse_softmax");
    work.advance(kMaxBatchBlocks * pattern.stride);
  }
}

/// The team by the average row: it holds half as much again and more; rows longer still take the long way.
template <class Work, int kWidth>
void launch_width(CudaStream stream, const Pattern& pattern, const Work& work, std::int64_t average) {
  constexpr int kV = 4 / kWidth;
  // Shared memory for long rows, in elements: a whole block's, or half of it, so that one block reads while another writes.
  constexpr int kWhole = 51200 / Work::kArrays, kHalf = 25600 / Work::kArrays;
  if (average <= 80) return launch_teams<Work, kWidth, 256, 8, 4 * kV>(stream, pattern, work, 0);
  if (average <= 340) return launch_teams<Work, kWidth, 256, 32, 4 * kV>(stream, pattern, work, 0);
  if (average <= 700) return launch_teams<Work, kWidth, 256, 32, 8 * kV>(stream, pattern, work, 0);
  if (average <= 2800) return launch_teams<Work, kWidth, 256, 256, 4 * kV>(stream, pattern, work, 0);
  if (average <= 11000) return launch_teams<Work, kWidth, 512, 512, 4 * kV>(stream, pattern, work, 0);
  if (Work::kArrays == 2 && average <= 51200)
    return launch_teams<Work, kWidth, 1024, 1024, 2 * kV>(stream, pattern, work, kWhole);
  launch_teams<Work, kWidth, 1024, 1024, 2 * kV>(stream, pattern, work, kHalf);
}

/// Vectors need the arrays to be alike in their distance from a 16-byte boundary; a row's own distance does not matter.
template <class Csr, class Work>
void launch(CudaStream stream, const Csr& csr, const Work& work, std::initializer_list<const void*> arrays) {
  if (csr.nnz == 0 || csr.rows == 0 || csr.batch == 0) return;
  const Pattern pattern{csr.row_offsets, csr.rows, csr.batch, csr.values_stride};
  std::uintptr_t different = 0;
  for (const void* array : arrays)
    different |= reinterpret_cast<std::uintptr_t>(array) ^ reinterpret_cast<std::uintptr_t>(*arrays.begin());
  const std::int64_t average = csr.nnz / csr.rows;
  if (different % 16 == 0)
    launch_width<Work, 4>(stream, pattern, work, average);
  else
    launch_width<Work, 1>(stream, pattern, work, average);
}

}  // namespace

template <class T>
void sparse_softmax(CudaStream stream, const Csr<const T>& s, T scale, T* p) {
  launch(stream, s, Forward{s.values, p, scale}, {s.values, p});
}

template <class T>
void sparse_softmax_backward(CudaStream stream, const Csr<const T>& p, const T* dp, T scale, T* ds) {
  launch(stream, p, Backward{p.values, dp, ds, scale}, {p.values, dp, ds});
}

#define LACUNA_INSTANTIATE(T)                                              \
  template void sparse_softmax<T>(CudaStream, const Csr<const T>&, T, T*); \
  template void sparse_softmax_backward<T>(CudaStream, const Csr<const T>&, const T*, T, T*);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
