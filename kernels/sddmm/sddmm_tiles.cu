// SDDMM in tensor-core tiles (Hopper: TMA, mbarriers, wgmma). A persistent block takes work items (a tile of 128 rows by
// kCols columns, a part of k, a matrix of the batch) one after another. Warpgroup 0 brings pieces of 128 bytes along k
// of both operands into a ring of stages; warpgroups 1 and 2 each multiply 64 rows by all columns, then sample: each warp
// puts 16 x 64 sums at a time into its own shared memory and picks out the entries that the plan names.
//
// split_tf32: an f32 is hi + lo, each tf32; lo*hi + hi*lo + hi*hi misses lo*lo, 2^-24 of the product. Warpgroup 0 splits B
// in shared memory (hi in place, lo beside it); the others split A on its way into registers, where wgmma takes it from.
// The tensor core cuts off its sums, so a long chain drifts towards zero: each piece of 32 along k starts
// from zero, the small products first, and is added to the total by an ordinary f32 add.
#include "kernels/sddmm/sddmm_tiles.h"

#include <cuda.h>

#include <algorithm>
#include <limits>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_tiles.cuh"
#include "kernels/sddmm/wgmma.cuh"

namespace lacuna::kernels {

namespace {

constexpr int kRows = 128;        // of a tile: 64 for each of two warpgroups
constexpr int kPieceBytes = 128;  // of a row of A or B in a stage: the width of the swizzle
constexpr int kThreads = 384;     // warpgroup 0 loads (and splits), 1 and 2 multiply
constexpr int kConsumerWarps = 8;
constexpr int kRowGroup = 8;  // tiles that follow one another go down this many rows first: they share B in L2
constexpr int kSampleRows = 16, kSampleBytes = kSampleRows * kCell * 4;  // a warp's shared memory for sampling
constexpr int kSampleAhead = 4;                                          // column indices in flight a lane

struct TileProblem {
  SddmmPlan plan;
  const std::int32_t* col_indices;
  std::int64_t c_stride;      // elements between matrices of the batch
  std::int64_t split_stride;  // elements between parts of k (partial sums)
  int m, n, pieces;           // pieces of 128 bytes along k
  int row_tiles, col_tiles, splits;
  std::int64_t items;
  int a_batched, b_batched;  // 0: one matrix for the whole batch
  float scale;
};

struct WorkItem {
  int row, col;  // of the tile's first element
  int first_piece, num_pieces;
  int split, matrix;
  bool empty;  // no entries: nothing to do
};

template <int kCols>
__device__ __forceinline__ WorkItem work_item(const TileProblem& p, std::int64_t index) {
  const int tiles = p.row_tiles * p.col_tiles;
  const int tile = static_cast<int>(index % tiles);
  const int rest = static_cast<int>(index / tiles);
  WorkItem item;
  item.split = rest % p.splits;
  item.matrix = rest / p.splits;
  const int group = tile / (kRowGroup * p.col_tiles), in_group = tile % (kRowGroup * p.col_tiles);
  const int group_rows = min(kRowGroup, p.row_tiles - group * kRowGroup);
  item.row = (group * kRowGroup + in_group % group_rows) * kRows;
  item.col = in_group / group_rows * kCols;
  item.first_piece = static_cast<int>(std::int64_t{p.pieces} * item.split / p.splits);
  item.num_pieces = static_cast<int>(std::int64_t{p.pieces} * (item.split + 1) / p.splits) - item.first_piece;
  item.empty = true;
  for (int i = 0; i < kRows / kCell; ++i) {
    for (int j = 0; j < kCols / kCell; ++j) {
      const std::int64_t r = item.row / kCell + i, c = item.col / kCell + j;
      if (r < p.plan.cell_rows && c < p.plan.cell_cols && __ldg(p.plan.cells + r * p.plan.cell_cols + c)) item.empty = false;
    }
  }
  return item;
}

// ---- barriers and copies ---------------------------------------------------------------------------------------------

__device__ __forceinline__ std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ __forceinline__ void barrier_init(std::uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

__device__ __forceinline__ void barrier_expect(std::uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}

__device__ __forceinline__ void barrier_arrive(std::uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

/// Waits for the phase of `parity` to end. A wait that outlasts any copy or product is a fault, not a hang.
__device__ __forceinline__ void barrier_wait(std::uint64_t* barrier, std::uint32_t parity) {
#pragma unroll 1
  for (unsigned tries = 0; tries < 1u << 24; ++tries) {
    std::uint32_t done;
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(shared_address(barrier)), "r"(parity)
        : "memory");
    if (done) return;
  }
  __trap();
}

__device__ __forceinline__ void tma_load(void* to, const CUtensorMap* map, std::uint64_t* barrier, int k, int row,
                                         int matrix) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];"
      ::"r"(shared_address(to)), "l"(map), "r"(shared_address(barrier)), "r"(k), "r"(row), "r"(matrix)
      : "memory");
}

template <int kRegisters>
__device__ __forceinline__ void more_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void fewer_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// To the nearest tf32, ties away from zero.
__device__ __forceinline__ std::uint32_t round_tf32(std::uint32_t x) { return (x + 0x1000u) & 0xffffe000u; }

// ---- the ring --------------------------------------------------------------------------------------------------------

template <SddmmMath kMath, int kCols>
struct Layout {
  static constexpr bool kSplit = kMath == SddmmMath::split_tf32;
  static constexpr int kElements = kMath == SddmmMath::bf16 ? 64 : 32;  // of a piece
  static constexpr int kABytes = kRows * kPieceBytes, kBBytes = kCols * kPieceBytes;
  static constexpr int kStageBytes = kABytes + kBBytes * (kSplit ? 2 : 1);
  static constexpr int kStages = kCols == 256 ? 4 : kSplit ? 4 : 6;
  static constexpr int kLoadAhead = kSplit ? 2 : kStages;  // split: loads run this far ahead of the splitting
  static constexpr int kBytes = 1024 + kStages * kStageBytes + kConsumerWarps * kSampleBytes;
  static_assert(kBytes <= 232448 - 256, "a block's shared memory");
};

/// A place in the ring, and the parity of its barriers' current phase.
template <int kStages>
struct RingPlace {
  int stage = 0;
  std::uint32_t parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

struct Barriers {
  std::uint64_t full[8];   // TMA has written the stage
  std::uint64_t split[8];  // and warpgroup 0 has split it
  std::uint64_t empty[8];  // both consumers have read it
};

/// Splits a stage's B: hi in place, lo behind it. Element by element, so that the swizzle needs no undoing.
template <int kBytes>
__device__ __forceinline__ void split_b(std::byte* b) {
  const int thread = threadIdx.x;
#pragma unroll
  for (int i = 0; i < kBytes / 16 / 128; ++i) {
    uint4* hi = reinterpret_cast<uint4*>(b) + i * 128 + thread;
    uint4* lo = reinterpret_cast<uint4*>(b + kBytes) + i * 128 + thread;
    const uint4 x = *hi;
    const uint4 h = {round_tf32(x.x), round_tf32(x.y), round_tf32(x.z), round_tf32(x.w)};
    const float4 l = {__uint_as_float(x.x) - __uint_as_float(h.x), __uint_as_float(x.y) - __uint_as_float(h.y),
                      __uint_as_float(x.z) - __uint_as_float(h.z), __uint_as_float(x.w) - __uint_as_float(h.w)};
    *hi = h;
    *reinterpret_cast<float4*>(lo) = l;
  }
}

// ---- sampling --------------------------------------------------------------------------------------------------------

__device__ __forceinline__ void store(float* to, float x) { *to = x; }
__device__ __forceinline__ void store(Bf16* to, float x) { *to = to_bf16(x); }

/// Stores the entries of 16 rows x 64 columns whose sums lie in `sums` (column ^ 8 (row % 4), against bank conflicts).
///   begin, end  in lane r < 16: the run of entries of row r
template <class Out>
__device__ __forceinline__ void sample(const float* sums, int begin, int end, int first_column,
                                       const std::int32_t* __restrict__ col_indices, Out* __restrict__ out, float scale) {
  const int lane = threadIdx.x % 32;
  int before = end - begin;  // becomes the number of entries in the rows up to and with this lane's
#pragma unroll
  for (int offset = 1; offset < kSampleRows; offset *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, before, offset, kSampleRows);
    if (lane % kSampleRows >= offset) before += other;
  }
  const int total = __shfl_sync(0xffffffffu, before, kSampleRows - 1);
  const int shift = begin - (before - (end - begin));  // from a number in the list to an entry of CSR
  for (int first = 0; first < total; first += 32 * kSampleAhead) {
    int entry[kSampleAhead], row[kSampleAhead], column[kSampleAhead];
#pragma unroll
    for (int j = 0; j < kSampleAhead; ++j) {
      const int number = first + j * 32 + lane;
      int r = 0;  // rows whose entries all come before
#pragma unroll
      for (int step = kSampleRows / 2; step > 0; step /= 2) {
        if (__shfl_sync(0xffffffffu, before, r + step - 1) <= number) r += step;
      }
      row[j] = r;
      entry[j] = number + __shfl_sync(0xffffffffu, shift, r);
      column[j] = number < total ? __ldg(col_indices + entry[j]) : -1;
    }
#pragma unroll
    for (int j = 0; j < kSampleAhead; ++j) {
      if (column[j] >= 0) {
        const int at = row[j] * kCell + ((column[j] - first_column) ^ ((row[j] & 3) * 8));
        store(out + entry[j], scale * sums[at]);
      }
    }
  }
}

// ---- the kernel ------------------------------------------------------------------------------------------------------

template <SddmmMath kMath, int kCols, class Out>
__global__ void __launch_bounds__(kThreads, 1)
    sddmm_tiles_kernel(const __grid_constant__ CUtensorMap a_map, const __grid_constant__ CUtensorMap b_map,
                       const TileProblem p, Out* __restrict__ out) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using L = Layout<kMath, kCols>;
  using Place = RingPlace<L::kStages>;
  extern __shared__ std::byte raw_shared[];
  __shared__ Barriers barriers;
  std::byte* ring = raw_shared + (1024 - shared_address(raw_shared) % 1024) % 1024;
  float* samples = reinterpret_cast<float*>(ring + L::kStages * L::kStageBytes);
  const int warpgroup = threadIdx.x / 128;

  if (threadIdx.x == 0) {
    for (int i = 0; i < L::kStages; ++i) {
      barrier_init(&barriers.full[i], 1);
      barrier_init(&barriers.split[i], 128);
      barrier_init(&barriers.empty[i], kConsumerWarps);
    }
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  }
  __syncthreads();

  if (warpgroup == 0) {
    fewer_registers<56>();
    // Loads run `ahead` pieces in front of the splitting, over the ends of items: both walk the same list.
    std::int64_t load_index = blockIdx.x;
    WorkItem load = {};
    int load_piece = 0;
    Place load_place;
    const auto settle = [&] {  // at the next piece to load, or past the end
      while (load_index < p.items && (load.empty || load_piece == load.num_pieces)) {
        load_index += gridDim.x;
        load_piece = 0;
        if (load_index < p.items) load = work_item<kCols>(p, load_index);
      }
    };
    const auto load_next = [&] {  // one thread
      if (load_index >= p.items) return;
      barrier_wait(&barriers.empty[load_place.stage], load_place.parity ^ 1);
      std::byte* stage = ring + load_place.stage * L::kStageBytes;
      std::uint64_t* full = &barriers.full[load_place.stage];
      barrier_expect(full, L::kABytes + L::kBBytes);
      const int k = (load.first_piece + load_piece) * L::kElements;
      tma_load(stage, &a_map, full, k, load.row, p.a_batched ? load.matrix : 0);
      tma_load(stage + L::kABytes, &b_map, full, k, load.col, p.b_batched ? load.matrix : 0);
      load_place.next();
      ++load_piece;
      settle();
    };
    if (load_index < p.items) {
      load = work_item<kCols>(p, load_index);
      settle();
    }
    if constexpr (!L::kSplit) {
      if (threadIdx.x == 0) {
        while (load_index < p.items) load_next();
      }
    } else {
      if (threadIdx.x == 0) {
        for (int i = 0; i < L::kLoadAhead; ++i) load_next();
      }
      Place place;
      for (std::int64_t index = blockIdx.x; index < p.items; index += gridDim.x) {
        const WorkItem item = work_item<kCols>(p, index);
        if (item.empty) continue;
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          if (threadIdx.x == 0) load_next();
          __syncwarp();
          barrier_wait(&barriers.full[place.stage], place.parity);
          split_b<L::kBBytes>(ring + place.stage * L::kStageBytes + L::kABytes);
          asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
          barrier_arrive(&barriers.split[place.stage]);
          place.next();
        }
      }
    }
  } else {
    more_registers<224>();
    const int lane = threadIdx.x % 32;
    const int warp_row = threadIdx.x / 32 * kSampleRows - 64;  // of the tile: warps 4..11 take 16 rows each
    float* sums = samples + (threadIdx.x / 32 - 4) * (kSampleBytes / 4);
    const std::uint32_t ring_address = shared_address(ring);
    Place place;
    for (std::int64_t index = blockIdx.x; index < p.items; index += gridDim.x) {
      const WorkItem item = work_item<kCols>(p, index);
      if (item.empty) continue;

      // The runs of entries, read ahead of their use: lane r has row r's edges.
      int edges[kCols / kCell + 1];
      const int row = item.row + warp_row + lane;
#pragma unroll
      for (int j = 0; j <= kCols / kCell; ++j) {
        const std::int64_t edge = min(std::int64_t{item.col / kCell + j}, p.plan.cell_cols);
        edges[j] = lane < kSampleRows && row < p.m ? __ldg(p.plan.segments + edge * p.m + row) : 0;
      }

      float total[kCols / 2];
      if constexpr (L::kSplit) {
        // ldmatrix: lanes 0-15 name the 16 rows' first 16 bytes of a step, lanes 16-31 the second.
        const int a_row = warp_row + lane % 16;
        const std::uint32_t a_offset = a_row * kPieceBytes;
        float part[kCols / 2];
#pragma unroll
        for (int i = 0; i < kCols / 2; ++i) total[i] = 0.0f;
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);  // A is TMA's, B is the splitter's
          barrier_wait(&barriers.split[place.stage], place.parity);
          const std::uint32_t stage = ring_address + place.stage * L::kStageBytes;
          std::uint32_t hi[4][4], lo[4][4];
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            const std::uint32_t at = stage + a_offset + (((step * 2 + lane / 16) ^ (a_row & 7)) * 16);
            asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                         : "=r"(hi[step][0]), "=r"(hi[step][1]), "=r"(hi[step][2]), "=r"(hi[step][3])
                         : "r"(at)
                         : "memory");
          }
#pragma unroll
          for (int step = 0; step < 4; ++step) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const std::uint32_t x = hi[step][i];
              hi[step][i] = round_tf32(x);
              lo[step][i] = __float_as_uint(__uint_as_float(x) - __uint_as_float(hi[step][i]));
            }
          }
          const std::uint64_t b_hi = wgmma::descriptor(stage + L::kABytes);
          const std::uint64_t b_lo = wgmma::descriptor(stage + L::kABytes + L::kBBytes);
          wgmma::pin(part);
          wgmma::fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            wgmma::tf32(part, lo[step], b_hi + 2 * step, step > 0);
            wgmma::tf32(part, hi[step], b_lo + 2 * step, 1);
          }
#pragma unroll
          for (int step = 0; step < 4; ++step) wgmma::tf32(part, hi[step], b_hi + 2 * step, 1);
          wgmma::commit();
          wgmma::wait<0>();
          wgmma::pin(part);
          __syncwarp();
          if (lane == 0) barrier_arrive(&barriers.empty[place.stage]);
          place.next();
#pragma unroll
          for (int i = 0; i < kCols / 2; ++i) total[i] += part[i];
        }
      } else {
        int before = -1;  // the stage that the last group of products still reads
        for (int piece = 0; piece < item.num_pieces; ++piece) {
          barrier_wait(&barriers.full[place.stage], place.parity);
          const std::uint32_t stage = ring_address + place.stage * L::kStageBytes;
          const std::uint64_t a = wgmma::descriptor(stage + (warpgroup - 1) * 64 * kPieceBytes);
          const std::uint64_t b = wgmma::descriptor(stage + L::kABytes);
          wgmma::pin(total);
          wgmma::fence();
#pragma unroll
          for (int step = 0; step < 4; ++step) {
            if constexpr (kMath == SddmmMath::bf16) wgmma::bf16(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
            else wgmma::tf32(total, a + 2 * step, b + 2 * step, piece > 0 || step > 0);
          }
          wgmma::commit();
          wgmma::pin(total);
          wgmma::wait<1>();
          if (before >= 0 && lane == 0) barrier_arrive(&barriers.empty[before]);
          before = place.stage;
          place.next();
        }
        wgmma::wait<0>();
        wgmma::pin(total);
        if (before >= 0 && lane == 0) barrier_arrive(&barriers.empty[before]);
        if (item.num_pieces == 0) {
#pragma unroll
          for (int i = 0; i < kCols / 2; ++i) total[i] = 0.0f;
        }
      }

      Out* to = out + item.matrix * p.c_stride + item.split * p.split_stride;
      const int g = lane / 4, t = lane % 4;
#pragma unroll
      for (int cell = 0; cell < kCols / kCell; ++cell) {
        if (!__any_sync(0xffffffffu, edges[cell] < edges[cell + 1])) continue;
#pragma unroll
        for (int j = 0; j < kCell / 8; ++j) {
          const float* d = total + (cell * (kCell / 8) + j) * 4;
          const int at = ((j * 8) ^ ((g & 3) * 8)) + t * 2;  // g and g + 8 are alike modulo 4
          *reinterpret_cast<float2*>(sums + g * kCell + at) = {d[0], d[1]};
          *reinterpret_cast<float2*>(sums + (g + 8) * kCell + at) = {d[2], d[3]};
        }
        __syncwarp();
        sample(sums, edges[cell], edges[cell + 1], item.col + cell * kCell, p.col_indices, to, p.scale);
        __syncwarp();
      }
    }
  }
#else
  __trap();
#endif
}

/// c[i] = scale * (partial[0][i] + partial[1][i] + ...), in order.
template <class Out>
__global__ void __launch_bounds__(256)
    sddmm_add_parts(const float* __restrict__ parts, std::int64_t nnz, std::int64_t split_stride, int splits,
                    std::int64_t c_stride, float scale, Out* __restrict__ c) {
  cudaGridDependencySynchronize();
  const std::int64_t i = std::int64_t{blockIdx.x} * 256 + threadIdx.x;
  if (i >= nnz) return;
  const float* from = parts + blockIdx.y * nnz + i;
  float sum = 0.0f;
#pragma unroll 8
  for (int s = 0; s < splits; ++s) sum += from[s * split_stride];
  store(c + blockIdx.y * c_stride + i, scale * sum);
}

// ---- host ------------------------------------------------------------------------------------------------------------

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    LACUNA_CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess) {
      throw runtime::Failure{static_cast<int>(cudaErrorNotSupported), "sddmm_tiles: the driver lacks cuTensorMapEncodeTiled", false};
    }
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

/// Boxes of 128 bytes along k and `box_rows` rows; what lies past an edge reads as zero.
template <class T>
CUtensorMap tensor_map(const Dense<const T>& x, std::int64_t batch, int box_rows) {
  const bool batched = batch > 1 && x.batch_stride != 0;
  const std::int64_t stride = x.ld * static_cast<std::int64_t>(sizeof(T));
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(x.cols), static_cast<cuuint64_t>(x.rows),
                               static_cast<cuuint64_t>(batched ? batch : 1)};
  const cuuint64_t strides[2] = {static_cast<cuuint64_t>(stride),
                                 static_cast<cuuint64_t>(batched ? x.batch_stride * static_cast<std::int64_t>(sizeof(T)) : stride * x.rows)};
  const cuuint32_t box[3] = {kPieceBytes / sizeof(T), static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = encode_tiled()(
      &map, sizeof(T) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 3,
      const_cast<T*>(x.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue), "sddmm_tiles: cuTensorMapEncodeTiled refused an operand", false};
  }
  return map;
}

template <SddmmMath kMath, int kCols, class In, class Out>
void launch_tiles(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, std::int64_t batch,
                  TileProblem p, Out* out, int multiprocessors) {
  using L = Layout<kMath, kCols>;
  p.pieces = static_cast<int>(ceil_div(a.cols, L::kElements));
  p.row_tiles = static_cast<int>(ceil_div(p.m, kRows));
  p.col_tiles = static_cast<int>(ceil_div(p.n, kCols));
  p.items = std::int64_t{p.row_tiles} * p.col_tiles * p.splits * batch;
  const CUtensorMap a_map = tensor_map(a, batch, kRows), b_map = tensor_map(b, batch, kCols);
  const auto kernel = sddmm_tiles_kernel<kMath, kCols, Out>;
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, L::kBytes));
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(p.items, multiprocessors));
  kernel<<<blocks, kThreads, L::kBytes, static_cast<cudaStream_t>(stream.handle)>>>(a_map, b_map, p, out);
  LACUNA_CUDA_LAUNCHED("sddmm_tiles");
}

template <class In, class Out>
void launch_math(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, std::int64_t batch,
                 const TileProblem& p, Out* out, SddmmMath math, int cols, int multiprocessors) {
  if constexpr (sizeof(In) == 2) {
    if (cols == 256) launch_tiles<SddmmMath::bf16, 256>(stream, a, b, batch, p, out, multiprocessors);
    else launch_tiles<SddmmMath::bf16, 128>(stream, a, b, batch, p, out, multiprocessors);
  } else if (math == SddmmMath::split_tf32) {
    launch_tiles<SddmmMath::split_tf32, 128>(stream, a, b, batch, p, out, multiprocessors);
  } else {
    if (cols == 256) launch_tiles<SddmmMath::tf32, 256>(stream, a, b, batch, p, out, multiprocessors);
    else launch_tiles<SddmmMath::tf32, 128>(stream, a, b, batch, p, out, multiprocessors);
  }
}

template <class Out>
void add_parts(CudaStream stream, const float* parts, const Csr<Out>& c, int splits, float scale) {
  // Programmatic dependence: the launch overlaps the tiles' end; the kernel itself waits for their results.
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(ceil_div(c.nnz, 256)), static_cast<unsigned>(c.batch));
  config.blockDim = dim3(256);
  config.stream = static_cast<cudaStream_t>(stream.handle);
  config.attrs = &attribute;
  config.numAttrs = 1;
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&config, sddmm_add_parts<Out>, parts, c.nnz, c.nnz * c.batch, splits, c.values_stride,
                                       scale, c.values));
}

template <class T>
bool on_16_bytes(const Dense<const T>& x) {
  constexpr std::int64_t kWidth = 16 / sizeof(T);
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.ld % kWidth == 0 &&
         (x.batch <= 1 || x.batch_stride % kWidth == 0) && x.rows < std::int64_t{1} << 31 && x.cols < std::int64_t{1} << 31;
}

}  // namespace

SddmmTiling choose_sddmm_tiling(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t nnz, std::int64_t batch,
                                int multiprocessors, SddmmMath math, double* seconds) {
  // A work item costs its pieces and, once, the ring's filling and the sampling; a block takes items one after another.
  constexpr double kItem = 3.5e-6, kStart = 4e-6, kAddParts = 2e-6, kBandwidth = 2e12;
  const double elements = math == SddmmMath::bf16 ? 64 : 32;
  const double piece_128 = math == SddmmMath::split_tf32 ? 1.05e-6 : 0.36e-6;
  const auto pieces = ceil_div(k, static_cast<std::int64_t>(elements));
  SddmmTiling best;
  double least = std::numeric_limits<double>::max();
  for (const int cols : {256, 128}) {
    if (cols == 256 && math == SddmmMath::split_tf32) continue;
    const double piece = cols == 256 ? 1.9 * piece_128 : piece_128;
    const std::int64_t tiles = ceil_div(m, kRows) * ceil_div(n, cols) * batch;
    for (int splits = 1; splits <= 64 && splits <= pieces; ++splits) {
      const auto waves = static_cast<double>(ceil_div(tiles * splits, multiprocessors));
      double time = kStart + waves * (static_cast<double>(ceil_div(pieces, splits)) * piece + kItem);
      if (splits > 1) time += kAddParts + static_cast<double>(nnz * batch) * 8 * splits / kBandwidth;
      if (time < least) least = time, best = {cols, splits};
    }
  }
  if (seconds) *seconds = least;
  return best;
}

template <class In>
bool sddmm_tiles_supports(CudaStream, const Dense<const In>& a, const Dense<const In>& b) {
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return major == 9 && minor == 0 && a.cols > 0 && on_16_bytes(a) && on_16_bytes(b);
}

template <class Out>
std::size_t sddmm_tiles_scratch_bytes(const Csr<Out>& c, const SddmmTiling& tiling) {
  return tiling.splits > 1 ? static_cast<std::size_t>(tiling.splits * c.nnz * c.batch) * sizeof(float) : 0;
}

template <class In, class Out>
void sddmm_tiles(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, const Csr<Out>& c, float scale,
                 SddmmMath math, const SddmmTiling& tiling, const void* plan, void* scratch) {
  if (c.nnz == 0 || c.batch == 0) return;
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  TileProblem p = {};
  p.plan = sddmm_plan_view(plan, c.rows, c.cols);
  p.col_indices = c.col_indices;
  p.m = static_cast<int>(c.rows);
  p.n = static_cast<int>(c.cols);
  p.splits = tiling.splits;
  p.a_batched = c.batch > 1 && a.batch_stride != 0;
  p.b_batched = c.batch > 1 && b.batch_stride != 0;
  if (tiling.splits == 1) {
    p.c_stride = c.values_stride;
    p.scale = scale;
    launch_math(stream, a, b, c.batch, p, c.values, math, tiling.tile_cols, multiprocessors);
    return;
  }
  p.c_stride = c.nnz;
  p.split_stride = c.nnz * c.batch;
  p.scale = 1.0f;
  float* parts = static_cast<float*>(scratch);
  launch_math(stream, a, b, c.batch, p, parts, math, tiling.tile_cols, multiprocessors);
  add_parts(stream, parts, c, tiling.splits, scale);
}

template bool sddmm_tiles_supports<float>(CudaStream, const Dense<const float>&, const Dense<const float>&);
template bool sddmm_tiles_supports<Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&);
template std::size_t sddmm_tiles_scratch_bytes<float>(const Csr<float>&, const SddmmTiling&);
template std::size_t sddmm_tiles_scratch_bytes<Bf16>(const Csr<Bf16>&, const SddmmTiling&);
template void sddmm_tiles<float, float>(CudaStream, const Dense<const float>&, const Dense<const float>&,
                                        const Csr<float>&, float, SddmmMath, const SddmmTiling&, const void*, void*);
template void sddmm_tiles<Bf16, float>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&,
                                       const Csr<float>&, float, SddmmMath, const SddmmTiling&, const void*, void*);
template void sddmm_tiles<Bf16, Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&, const Csr<Bf16>&,
                                      float, SddmmMath, const SddmmTiling&, const void*, void*);

}  // namespace lacuna::kernels
