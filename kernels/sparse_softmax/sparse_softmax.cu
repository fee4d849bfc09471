// Sparse softmax on CUDA: one pass over memory. A team (8 lanes, a warp or a block, by the average row) holds its row in
// registers; rows too long for that are taken by the whole block, which keeps as much as fits in shared memory and
// reads the rest twice.
//
// A row lies where it lies: its first elements up to a 16-byte boundary and its last ones are read one by one (the
// `edge`), all between as vectors. The order of a sum follows from the row's length and place alone.
#include <algorithm>
#include <cmath>

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

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }

/// 2^x by the special-function unit: 2 units in the last place, tiny results become 0.
__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// A thread's share of a row: kCount vectors and an edge element. What the row lacks is `absent`. Vectors that no row of
/// the warp reaches (`most` is its longest row's) are skipped.
template <int kWidth, int kCount, int kLanes>
struct Share {
  Vector<kWidth> body[kCount];
  float edge;

  __device__ __forceinline__ void read(const float* row, const Cut<kWidth>& cut, int rank, int most, float absent) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) body[i].x[j] = absent;
      if (i * kLanes < most && i * kLanes + rank < cut.vectors) {
        body[i] = load<kWidth>(row + cut.head + (i * kLanes + rank) * kWidth);
      }
    }
    const int at = cut.edge(rank);
    edge = at < cut.length ? row[at] : absent;
  }

  __device__ __forceinline__ void write(float* row, const Cut<kWidth>& cut, int rank, int most) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * kLanes < most && i * kLanes + rank < cut.vectors) {
        store<kWidth>(row + cut.head + (i * kLanes + rank) * kWidth, body[i]);
      }
    }
    const int at = cut.edge(rank);
    if (at < cut.length) row[at] = edge;
  }

  template <class F>
  __device__ __forceinline__ void each(int most, const F& f) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * kLanes < most) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) f(body[i].x[j]);
      }
    }
    f(edge);
  }
};

/// Copies 16 bytes (or 4) from global to shared memory without passing through registers.
template <int kWidth>
__device__ __forceinline__ void copy_async(float* to, const float* from) {
  const auto address = static_cast<std::uint32_t>(__cvta_generic_to_shared(to));
  if constexpr (kWidth == 4)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(address), "l"(from) : "memory");
}

__device__ __forceinline__ void wait_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

struct Forward {
  const float* s;
  float* p;
  float sign, scale;  // of the scores; scale is its magnitude times log2(e), as the exponentials are powers of two

  /// exp of the score x relative to that of `largest`, which is `sign` times a score. The difference comes before the
  /// scale: of scores past 2^24 / scale, a scaled difference is the rounding error of the product, and may be infinite.
  __device__ __forceinline__ float power(float x, float largest) const {
    return exp2_fast(scale * fmaf(sign, x, -largest));
  }
  /// A sum relative to `from`, relative to `to`. An empty one stays so, whatever it was relative to.
  __device__ __forceinline__ float moved(float sum, float from, float to) const {
    return sum == 0.0f ? 0.0f : sum * exp2_fast(scale * (from - to));
  }
  __device__ __forceinline__ float absent() const { return sign > 0.0f ? -infinity() : infinity(); }

  __host__ __device__ void advance(std::int64_t elements) { s += elements, p += elements; }
  __device__ const float* place(std::int64_t begin) const { return s + begin; }
  static constexpr int kArrays = 1;  // that a long row keeps in shared memory

  /// p may be s: a thread has read what it overwrites. A NaN is passed over by the maximum and reaches the row through
  /// the sum.
  template <int kWidth, int kLanes, int kCount>
  __device__ __forceinline__ void row(const Team<kLanes>& team, std::int64_t begin, const Cut<kWidth>& cut,
                                      int most) const {
    Share<kWidth, kCount, kLanes> share;
    share.read(s + begin, cut, team.rank, most, absent());
    float largest = -infinity();
    share.each(most, [&](float x) { largest = fmaxf(largest, sign * x); });
    largest = team.max(largest);
    float sum = 0.0f;
    share.each(most, [&](float& x) {
      x = power(x, largest);
      sum += x;
    });
    const float inverse = 1.0f / team.sum(sum);
    share.each(most, [&](float& x) { x *= inverse; });
    share.write(p + begin, cut, team.rank, most);
  }

  /// A row of any length. kept: shared memory for its first `keep` elements past the head.
  template <int kWidth, int kThreads>
  __device__ void long_row(const Team<kThreads>& team, std::int64_t begin, const Cut<kWidth>& cut, float* kept,
                           int keep) const {
    const float* in = s + begin + cut.head;
    float* out = p + begin + cut.head;
    const int near = min(cut.vectors, keep / kWidth);
    for (int i = team.rank; i < near; i += kThreads) copy_async<kWidth>(kept + i * kWidth, in + i * kWidth);
    const int at = cut.edge(team.rank);
    const float edge = at < cut.length ? s[begin + at] : absent();
    wait_copies();  // a thread reads only what it copied

    float largest = sign * edge;
    for (int i = team.rank; i < near; i += kThreads) {
      const Vector<kWidth> v = load<kWidth>(kept + i * kWidth);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) largest = fmaxf(largest, sign * v.x[j]);
    }
    float base = largest == -infinity() ? 0.0f : largest;  // what this thread's sum is relative to
    float sum = power(edge, base);
    for (int i = team.rank; i < near; i += kThreads) {
      const Vector<kWidth> v = load<kWidth>(kept + i * kWidth);
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += power(v.x[j], base);
    }
#pragma unroll 4
    for (int i = near + team.rank; i < cut.vectors; i += kThreads) {
      const Vector<kWidth> v = load<kWidth>(in + i * kWidth);
      float most = largest;
#pragma unroll
      for (int j = 0; j < kWidth; ++j) most = fmaxf(most, sign * v.x[j]);
      if (most > largest) {
        sum = moved(sum, base, most);
        largest = base = most;
      }
#pragma unroll
      for (int j = 0; j < kWidth; ++j) sum += power(v.x[j], base);
    }
    const float all = team.max(largest);
    const float inverse = 1.0f / team.sum(moved(sum, base, all));

    const auto finish = [&](Vector<kWidth> v, float* to) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) v.x[j] = power(v.x[j], all) * inverse;
      store<kWidth>(to, v);
    };
    if (at < cut.length) p[begin + at] = power(edge, all) * inverse;
    for (int i = team.rank; i < near; i += kThreads) finish(load<kWidth>(kept + i * kWidth), out + i * kWidth);
#pragma unroll 4
    for (int i = near + team.rank; i < cut.vectors; i += kThreads)
      finish(load<kWidth>(in + i * kWidth), out + i * kWidth);
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
  __device__ __forceinline__ void row(const Team<kLanes>& team, std::int64_t begin, const Cut<kWidth>& cut,
                                      int most) const {
    Share<kWidth, kCount, kLanes> left, right;
    left.read(p + begin, cut, team.rank, most, 0.0f);
    right.read(dp + begin, cut, team.rank, most, 0.0f);
    float dot = left.edge * right.edge;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * kLanes < most) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) dot = fmaf(left.body[i].x[j], right.body[i].x[j], dot);
      }
    }
    dot = team.sum(dot);
    right.edge = scale * left.edge * (right.edge - dot);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (i * kLanes < most) {
#pragma unroll
        for (int j = 0; j < kWidth; ++j) right.body[i].x[j] = scale * left.body[i].x[j] * (right.body[i].x[j] - dot);
      }
    }
    right.write(ds + begin, cut, team.rank, most);
  }

  template <int kWidth, int kThreads>
  __device__ void long_row(const Team<kThreads>& team, std::int64_t begin, const Cut<kWidth>& cut, float* kept,
                           int keep) const {
    const float *left = p + begin + cut.head, *right = dp + begin + cut.head;
    float *out = ds + begin + cut.head, *kept_right = kept + keep;
    const int near = min(cut.vectors, keep / kWidth);
    for (int i = team.rank; i < near; i += kThreads) {
      copy_async<kWidth>(kept + i * kWidth, left + i * kWidth);
      copy_async<kWidth>(kept_right + i * kWidth, right + i * kWidth);
    }
    const int at = cut.edge(team.rank);
    const float edge_left = at < cut.length ? p[begin + at] : 0.0f,
                edge_right = at < cut.length ? dp[begin + at] : 0.0f;
    wait_copies();

    float dot = edge_left * edge_right;
    const auto add = [&](const Vector<kWidth>& x, const Vector<kWidth>& y) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) dot = fmaf(x.x[j], y.x[j], dot);
    };
    for (int i = team.rank; i < near; i += kThreads)
      add(load<kWidth>(kept + i * kWidth), load<kWidth>(kept_right + i * kWidth));
#pragma unroll 4
    for (int i = near + team.rank; i < cut.vectors; i += kThreads)
      add(load<kWidth>(left + i * kWidth), load<kWidth>(right + i * kWidth));
    dot = team.sum(dot);

    const auto finish = [&](const Vector<kWidth>& x, Vector<kWidth> y, float* to) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) y.x[j] = scale * x.x[j] * (y.x[j] - dot);
      store<kWidth>(to, y);
    };
    if (at < cut.length) ds[begin + at] = scale * edge_left * (edge_right - dot);
    for (int i = team.rank; i < near; i += kThreads) {
      finish(load<kWidth>(kept + i * kWidth), load<kWidth>(kept_right + i * kWidth), out + i * kWidth);
    }
#pragma unroll 4
    for (int i = near + team.rank; i < cut.vectors; i += kThreads) {
      finish(load<kWidth>(left + i * kWidth), load<kWidth>(right + i * kWidth), out + i * kWidth);
    }
  }
};

/// A team of kLanes a row, kThreads / kLanes rows a block (one, when the block is the team).
template <class Work, int kWidth, int kThreads, int kLanes, int kCount>
__global__ void __launch_bounds__(kThreads) softmax_rows(const std::int32_t* __restrict__ row_offsets,
                                                         std::int64_t rows, std::int64_t stride, int keep, Work work) {
  constexpr int kTeams = kThreads / kLanes;
  extern __shared__ __align__(16) float kept[];  // filled by copies of 16 bytes
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
    const int most = kLanes > kWarp ? own.vectors : __reduce_max_sync(0xffffffffu, own.vectors);
    if (kLanes > kWarp ? own.length > 0 : __any_sync(0xffffffffu, own.length > 0)) {
      work.template row<kWidth, kLanes, kCount>(Team<kLanes>{static_cast<int>(threadIdx.x % kLanes), shared}, begin,
                                                own, most);
    }
  }
  if constexpr (kTeams == 1) {
    if (is_long) {
      work.template long_row<kWidth, kThreads>(Team<kThreads>{static_cast<int>(threadIdx.x), shared}, begin, cut, kept,
                                               keep);
    }
  } else {
    if (!__syncthreads_or(is_long)) return;
    for (int i = 0; i < kTeams && first + i < rows; ++i) {
      const int row_begin = row_offsets[first + i];
      const int row_length = row_offsets[first + i + 1] - row_begin;
      const Cut<kWidth> row_cut(work.place(row_begin), row_length);
      if (row_cut.vectors <= kLanes * kCount) continue;
      work.template long_row<kWidth, kThreads>(Team<kThreads>{static_cast<int>(threadIdx.x), shared}, row_begin,
                                               row_cut, kept, keep);
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
  if (keep > 0) {
    int device = 0, most = 0;
    LACUNA_CUDA_CHECK(cudaGetDevice(&device));
    LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    constexpr int kStatic = 1024;  // what the block declares, rounded up
    keep = std::min(keep, (most - kStatic) / static_cast<int>(sizeof(float)) / Work::kArrays / 4 * 4);
  }
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

template <class Work, int kWidth>
void launch_width(CudaStream stream, const Pattern& pattern, const Work& work, std::int64_t average) {
  // Teams hold half as much again as the average row and more. Shared memory for long rows costs occupancy: it is for
  // patterns whose usual row is long.
  constexpr int kV = 4 / kWidth;
  if (average <= 80) return launch_teams<Work, kWidth, 256, 8, 4 * kV>(stream, pattern, work, 0);
  if (average <= 340) return launch_teams<Work, kWidth, 256, 32, 4 * kV>(stream, pattern, work, 0);
  if (average <= 700) return launch_teams<Work, kWidth, 256, 32, 8 * kV>(stream, pattern, work, 0);
  if (average <= 1400) return launch_teams<Work, kWidth, 128, 128, 4 * kV>(stream, pattern, work, 0);
  if (average <= 2800) return launch_teams<Work, kWidth, 128, 128, 8 * kV>(stream, pattern, work, 0);
  if (average <= 5600) return launch_teams<Work, kWidth, 256, 256, 8 * kV>(stream, pattern, work, 0);
  if (average <= 11000) return launch_teams<Work, kWidth, 512, 512, 8 * kV>(stream, pattern, work, 0);
  if (average <= 22000)
    return launch_teams<Work, kWidth, 512, 512, 2 * kV>(stream, pattern, work, 27648 / Work::kArrays);
  launch_teams<Work, kWidth, 1024, 1024, 2 * kV>(stream, pattern, work, 55296 / Work::kArrays);
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
  // exp(x) = 2^(x log2 e). A scale of 0 becomes one that scales all finite scores to 0: absent ones are infinite.
  constexpr T kLog2E = 1.44269504088896341f, kTiny = 1e-44f;
  const T factor = std::abs(scale) * kLog2E;
  launch(stream, s, Forward{s.values, p, scale < 0 ? T{-1} : T{1}, factor == 0 ? kTiny : factor}, {s.values, p});
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
