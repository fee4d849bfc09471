// SpMM on CUDA: the one-dimensional tiling of Gale et al., SC 2020, section V, tuned for H100.
//
// A subwarp of kLanes threads makes kSteps * kLanes * kVector columns of one row of C. It stages the row's entries,
// four a lane, in shared memory and walks them in order: one broadcast 16-byte read of shared memory serves two
// entries, and every entry reads one vector of B per step. All subwarps of a block share a column tile of B and, rows
// being sorted by length, move through it at about one pace, so B is read from L1; blocks are as large as the grid
// allows for that reason.
//
// Every element of C is one fused multiply-add chain over the row's entries in order: its bits depend neither on the
// vector width nor on the tiling nor on the row order.
#include <algorithm>
#include <cmath>

#include "kernels/pointwise/activation.h"
#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm/spmm.h"

namespace lacuna::kernels {

namespace {

constexpr int kMaxThreads = 1024;
constexpr std::int64_t kMaxBatchBlocks = 65535;

struct SpmmProblem {
  const std::int32_t* row_offsets;
  const std::int32_t* col_indices;
  const float* values;
  const std::int32_t* row_order;
  const float* b;
  float* c;
  const float* bias;
  std::int64_t values_stride, b_stride, c_stride;  // elements between matrices of the batch
  std::int64_t c_ld;
  std::int64_t m, batch;
  std::uint32_t b_row_bytes;
  std::uint32_t nnz;
  std::uint32_t row_tiles;
  int n;
  bool aligned_entries;  // values and col_indices can be read four at a time, from any multiple of four
  Activation activation;
};

template <int kCount>
struct Vector {
  float x[kCount];
};

template <int kCount>
__device__ __forceinline__ Vector<kCount> load_vector(const char* from) {
  if constexpr (kCount == 4) {
    const float4 v = __ldg(reinterpret_cast<const float4*>(from));
    return {{v.x, v.y, v.z, v.w}};
  } else if constexpr (kCount == 2) {
    const float2 v = __ldg(reinterpret_cast<const float2*>(from));
    return {{v.x, v.y}};
  } else {
    return {{__ldg(reinterpret_cast<const float*>(from))}};
  }
}

template <int kCount>
__device__ __forceinline__ void store_vector(float* to, const Vector<kCount>& v) {
  if constexpr (kCount == 4) *reinterpret_cast<float4*>(to) = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
  if constexpr (kCount == 2) *reinterpret_cast<float2*>(to) = make_float2(v.x[0], v.x[1]);
  if constexpr (kCount == 1) *to = v.x[0];
}

/// A column index and its value, as they lie in shared memory.
struct __align__(8) Entry {
  std::uint32_t column;
  float value;
};

/// Four consecutive entries on their way from global to shared memory.
struct Fetched {
  uint4 columns;
  float4 values;
};

/// Entries [at, at + 4). Read once by one subwarp only, so they go past L1, which B needs. Entries outside [begin, end)
/// may be left 0 or be a neighbouring row's: the caller never uses them.
__device__ __forceinline__ Fetched fetch(const SpmmProblem& p, const float* values, std::uint32_t at,
                                         std::uint32_t end) {
  Fetched f = {};
  if (at >= end) return f;
  if (p.aligned_entries && at + 4 <= p.nnz) {
    f.columns = __ldcg(reinterpret_cast<const uint4*>(p.col_indices + at));
    f.values = __ldcg(reinterpret_cast<const float4*>(values + at));
    return f;
  }
  const auto* columns = reinterpret_cast<const std::uint32_t*>(p.col_indices);
  f.columns.x = __ldcg(columns + at);
  f.values.x = __ldcg(values + at);
  if (at + 1 < end) f.columns.y = __ldcg(columns + at + 1), f.values.y = __ldcg(values + at + 1);
  if (at + 2 < end) f.columns.z = __ldcg(columns + at + 2), f.values.z = __ldcg(values + at + 2);
  if (at + 3 < end) f.columns.w = __ldcg(columns + at + 3), f.values.w = __ldcg(values + at + 3);
  return f;
}

template <int kVector, int kLanes, int kSteps>
struct Tile {
  static constexpr int kChunk = 4 * kLanes;     // entries staged at a time
  static constexpr int kStage = kChunk + 2;     // 16 bytes of padding: subwarps of a warp read different banks
  static constexpr int kTogether = 4 / kSteps;  // entries whose rows of B are read together
  // Wide tiles run with all registers taken and 32 warps to hide the entries' latency; narrow ones have both to spare.
  static constexpr bool kPrefetch = kSteps == 1;
  static constexpr int kSpan = kVector * kLanes;
  static constexpr int kColumns = kSpan * kSteps;

  const char* b;  // this lane's first column of B's row 0
  std::uint32_t b_row_bytes;
  float sums[kSteps][kVector];

  __device__ __forceinline__ void add(float value, const Vector<kVector> (&row)[kSteps]) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) sums[s][v] = fmaf(value, row[s].x[v], sums[s][v]);
    }
  }

  __device__ __forceinline__ void load(std::uint32_t column, Vector<kVector> (&row)[kSteps]) const {
    const char* from;  // b + column * b_row_bytes in 64 bits: one instruction, of which the compiler would make two
    asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(from) : "r"(column), "r"(b_row_bytes), "l"(b));
#pragma unroll
    for (int s = 0; s < kSteps; ++s) row[s] = load_vector<kVector>(from + s * kSpan * sizeof(float));
  }

  /// Four staged entries, all of this row. Four loads of B are in flight: more would not fit 1024 threads' registers.
  __device__ __forceinline__ void add_four(const Entry* stage) {
#pragma unroll
    for (int half = 0; half < 4; half += kTogether) {
      Vector<kVector> rows[kTogether][kSteps];
      float values[kTogether];
#pragma unroll
      for (int j = 0; j < kTogether; j += 2) {
        const uint4 two = *reinterpret_cast<const uint4*>(stage + half + j);
        values[j] = __uint_as_float(two.y);
        values[j + 1] = __uint_as_float(two.w);
        load(two.x, rows[j]);
        load(two.z, rows[j + 1]);
      }
#pragma unroll
      for (int j = 0; j < kTogether; ++j) add(values[j], rows[j]);
    }
  }

  /// Entries [at, at + 4) of which only those in [first, count) are this row's. The others read B where a real entry
  /// does and are not added: a zero times their NaN would be NaN.
  __device__ __forceinline__ void add_some(const Entry* stage, int at, int first, int count) {
#pragma unroll 1
    for (int half = 0; half < 4; half += kTogether) {
      Vector<kVector> rows[kTogether][kSteps];
      float values[kTogether];
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        const Entry entry = stage[min(max(at + half + j, first), count - 1)];
        values[j] = entry.value;
        load(entry.column, rows[j]);
      }
#pragma unroll
      for (int j = 0; j < kTogether; ++j) {
        if (at + half + j >= first && at + half + j < count) add(values[j], rows[j]);
      }
    }
  }

  /// sums = the row's entries [begin, end) times B. The whole warp calls; rows may differ in length.
  __device__ __forceinline__ void multiply(const SpmmProblem& p, const float* values, std::uint32_t begin,
                                           std::uint32_t end, int lane, Entry* stage) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) sums[s][v] = 0.0f;
    }
    // Reverse offset alignment (section V-B): start at a multiple of four and pass over the entries before `begin`.
    std::uint32_t base = p.aligned_entries ? begin & ~3u : begin;
    int first = static_cast<int>(begin - base);
    const std::uint32_t chunks = __reduce_max_sync(0xffffffffu, begin < end ? (end - base + kChunk - 1) / kChunk : 0u);
    if (chunks == 0) return;
    Fetched next = {};
    if constexpr (kPrefetch) next = fetch(p, values, base + 4 * lane, end);
    for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) {
      if constexpr (!kPrefetch) next = fetch(p, values, base + 4 * lane, end);
      __syncwarp();  // all have read the previous chunk
      auto* slot = reinterpret_cast<uint4*>(stage + 4 * lane);
      slot[0] =
          make_uint4(next.columns.x, __float_as_uint(next.values.x), next.columns.y, __float_as_uint(next.values.y));
      slot[1] =
          make_uint4(next.columns.z, __float_as_uint(next.values.z), next.columns.w, __float_as_uint(next.values.w));
      __syncwarp();
      const int count = base < end ? static_cast<int>(min(end - base, std::uint32_t{kChunk})) : 0;
      base = base < end ? base + kChunk : base;  // stops past the end, so that it cannot wrap
      if (kPrefetch && chunk + 1 < chunks) next = fetch(p, values, base + 4 * lane, end);
      int at = 0;
      if (first > 0 && count > 0) {
        add_some(stage, 0, first, count);
        at = 4;
      }
      first = 0;
      const int whole = count & ~3;
#pragma unroll 1
      for (; at < whole; at += 4) add_four(stage + at);
      if (at < count) add_some(stage, at, 0, count);
    }
  }
};

template <int kVector, int kLanes, int kSteps>
__global__ void __launch_bounds__(kMaxThreads, 1) spmm_kernel(const SpmmProblem p) {
  using T = Tile<kVector, kLanes, kSteps>;
  extern __shared__ uint4 shared[];
  wait_for_previous();
  const int lane = threadIdx.x % kLanes;
  const int subwarp = threadIdx.x / kLanes;
  Entry* stage = reinterpret_cast<Entry*>(shared) + subwarp * T::kStage;

  // Rows first: blocks that run together work on the same columns of B.
  const std::int64_t position = std::int64_t{blockIdx.x % p.row_tiles} * (blockDim.x / kLanes) + subwarp;
  // The last tile is moved left to end at the last column; what it shares with its neighbour both make, bit for bit.
  const int tile_column = min(static_cast<int>(blockIdx.x / p.row_tiles) * T::kColumns, max(p.n - T::kColumns, 0));
  const int column = tile_column + lane * kVector;
  const bool active = position < p.m;
  std::uint32_t begin = 0, end = 0;
  if (active) {
    const std::int64_t row = p.row_order ? p.row_order[position] : position;
    begin = static_cast<std::uint32_t>(p.row_offsets[row]);
    end = static_cast<std::uint32_t>(p.row_offsets[row + 1]);
  }
  T tile;
  tile.b_row_bytes = p.b_row_bytes;
  // Only a narrow C (kSteps = 1, n < 32) has lanes past the last column: they repeat it and store nothing.
  tile.b = reinterpret_cast<const char*>(p.b + blockIdx.z * p.b_stride + min(column, p.n - kVector));
  tile.multiply(p, p.values + blockIdx.z * p.values_stride, begin, end, lane, stage);
  if (!active || column >= p.n) return;

  const std::int64_t row = p.row_order ? p.row_order[position] : position;  // read again: a register less in the loop
  float* c = p.c + blockIdx.z * p.c_stride + row * p.c_ld + column;
  const float bias = p.bias ? p.bias[row] : 0.0f;
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    Vector<kVector> out;
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      // Without a bias nothing is added: -0 stays -0.
      const float x = p.bias ? tile.sums[s][v] + bias : tile.sums[s][v];
      out.x[v] = activate(p.activation, x);
    }
    store_vector(c + s * T::kSpan, out);
  }
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

/// The largest block that leaves the device no more than a little idle in its last wave.
int pick_threads(std::int64_t m, std::int64_t column_tiles, int lanes, int multiprocessors) {
  for (int threads = kMaxThreads; threads > 128; threads /= 2) {
    const double blocks = static_cast<double>(ceil_div(m, threads / lanes)) * static_cast<double>(column_tiles);
    const double waves = blocks / (static_cast<double>(multiprocessors) * (kMaxThreads / threads));
    if (waves >= 4 || waves / std::ceil(waves) >= 0.85) return threads;
  }
  return 128;
}

template <int kVector, int kLanes, int kSteps>
void launch(CudaStream stream, SpmmProblem p, int multiprocessors) {
  using T = Tile<kVector, kLanes, kSteps>;
  const std::int64_t column_tiles = ceil_div(p.n, T::kColumns);
  const int threads = pick_threads(p.m, column_tiles * p.batch, kLanes, multiprocessors);
  const int rows = threads / kLanes;
  p.row_tiles = static_cast<std::uint32_t>(ceil_div(p.m, rows));
  const std::int64_t blocks = p.row_tiles * column_tiles;
  if (blocks > 0x7fffffff)
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidConfiguration), "spmm: more than 2^31 - 1 tiles of C",
                           false};
  const std::size_t shared_bytes = static_cast<std::size_t>(rows) * T::kStage * sizeof(Entry);
  for (std::int64_t first = 0; first < p.batch; first += kMaxBatchBlocks) {
    SpmmProblem part = p;
    part.values += first * p.values_stride;
    part.b += first * p.b_stride;
    part.c += first * p.c_stride;
    const dim3 grid(static_cast<unsigned>(blocks), 1,
                    static_cast<unsigned>(std::min(p.batch - first, kMaxBatchBlocks)));
    launch_early(stream, spmm_kernel<kVector, kLanes, kSteps>, grid,
                 static_cast<unsigned>(threads), shared_bytes, 1, part);
  }
}

/// Two steps (64 columns, which C must have) halve the traffic for entries; one step makes twice the subwarps and
/// wastes fewer columns.
template <int kVector, int kLanes>
void launch_steps(CudaStream stream, const SpmmProblem& p) {
  static_assert(kVector * kLanes == 32);
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  const std::int64_t narrow = ceil_div(p.n, 32), wide = ceil_div(p.n, 64);
  const double wide_warps = static_cast<double>(wide * p.m) * static_cast<double>(p.batch) * kLanes / 32;
  const bool wasteful = wide * 2 * 5 > narrow * 6;  // more than a fifth of the columns
  if (p.n < 64 || wasteful || wide_warps < 16.0 * multiprocessors)
    return launch<kVector, kLanes, 1>(stream, p, multiprocessors);
  launch<kVector, kLanes, 2>(stream, p, multiprocessors);
}

/// Whether vectors of `width` floats can be read at every row's start and end.
template <class T>
bool fits(const Dense<T>& x, std::int64_t batch, int width) {
  return reinterpret_cast<std::uintptr_t>(x.data) % (sizeof(float) * width) == 0 && x.cols % width == 0 &&
         x.ld % width == 0 && (batch <= 1 || x.batch_stride % width == 0);
}

}  // namespace

template <class T>
std::size_t spmm_scratch_bytes(CudaStream, const Csr<const T>&, const Dense<const T>&) {
  return 0;
}

template <class T>
void spmm(CudaStream stream, const Csr<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const Epilogue<const T>& epilogue, void*) {
  if (c.rows == 0 || c.cols == 0 || c.batch == 0) return;
  if (b.ld > 0x3fffffff || a.rows > 0x7fffffff) {
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue), "spmm: B's rows are 2^30 elements apart or more",
                           false};
  }
  SpmmProblem p = {};
  p.row_offsets = a.row_offsets;
  p.col_indices = a.col_indices;
  p.values = a.values;
  p.row_order = a.row_order;
  p.b = b.data;
  p.c = c.data;
  p.bias = epilogue.bias;
  p.values_stride = a.values_stride;
  p.b_stride = b.batch_stride;
  p.c_stride = c.batch_stride;
  p.c_ld = c.ld;
  p.m = a.rows;
  p.batch = c.batch;
  p.b_row_bytes = static_cast<std::uint32_t>(b.ld) * sizeof(float);
  p.nnz = static_cast<std::uint32_t>(a.nnz);
  p.n = static_cast<int>(c.cols);
  p.aligned_entries = reinterpret_cast<std::uintptr_t>(a.col_indices) % 16 == 0 &&
                      reinterpret_cast<std::uintptr_t>(a.values) % 16 == 0 &&
                      (c.batch <= 1 || a.values_stride % 4 == 0);
  p.activation = epilogue.activation;
  if (fits(b, c.batch, 4) && fits(c, c.batch, 4)) return launch_steps<4, 8>(stream, p);
  if (fits(b, c.batch, 2) && fits(c, c.batch, 2)) return launch_steps<2, 16>(stream, p);
  launch_steps<1, 32>(stream, p);
}

#define LACUNA_INSTANTIATE(T)                                                                                       \
  template std::size_t spmm_scratch_bytes<T>(CudaStream, const Csr<const T>&, const Dense<const T>&);              \
  template void spmm<T>(CudaStream, const Csr<const T>&, const Dense<const T>&, const Dense<T>&, const Epilogue<const T>&, void*);
LACUNA_INSTANTIATE(float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
