// The plan of the tensor-core SpMM: entries by panel and slab (layout.h), built on the device by one warp per list.
//
// Within a list the order is chosen for the scatter into shared memory: 32 entries that follow each other should lie in
// 32 banks. Every row has at most one word per bank, so the entries of a bank are ranked by row, and the list is sorted
// by (rank, bank); first the lower halves of all words, then the upper. A store to 32 random words would take about 3.5
// turns; in this order 1.1 to 2.2 were counted, from sparsity 0.98 to 0.9.
#include <cuda_fp16.h>

#include <cub/device/device_scan.cuh>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm_tensor/layout.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

namespace {

namespace layout = spmm_tensor_layout;

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr unsigned kAll = 0xffffffffu;

cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }
std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
std::int64_t lists_of(const SpmmTensorPlan& plan) { return plan.panels * plan.slabs; }

/// First of entries [low, high) whose column is at least `column`.
__device__ std::int32_t lower_bound(const std::int32_t* col_indices, std::int32_t low, std::int32_t high,
                                    std::int64_t column) {
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    if (col_indices[middle] < column)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

/// This lane's row's entries in the list.
struct RowPart {
  std::int32_t begin, end;
  std::int64_t first_column;  // of the slab
};

__device__ RowPart row_part(const SpmmTensorPlan& plan, const std::int32_t* row_offsets,
                            const std::int32_t* col_indices, std::int64_t list, int lane) {
  const std::int64_t row = list / plan.slabs * layout::kPanelRows + lane;
  RowPart part = {0, 0, list % plan.slabs * layout::kSlabK};
  if (row >= plan.m) return part;
  const std::int32_t row_end = row_offsets[row + 1];
  part.begin = lower_bound(col_indices, row_offsets[row], row_end, part.first_column);
  part.end = lower_bound(col_indices, part.begin, row_end, part.first_column + layout::kSlabK);
  return part;
}

__global__ void __launch_bounds__(kThreads)
    count_kernel(const SpmmTensorPlan plan, const std::int32_t* __restrict__ row_offsets,
                 const std::int32_t* __restrict__ col_indices, std::int64_t lists, std::int32_t* counts) {
  const std::int64_t list = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (list > lists) return;
  int count = 0;  // the entry past the last list makes the scan's total
  if (list < lists) {
    const RowPart part = row_part(plan, row_offsets, col_indices, list, lane);
    count = __reduce_add_sync(kAll, part.end - part.begin);
  }
  if (lane == 0) counts[list] = (count + layout::kListMultiple - 1) & -layout::kListMultiple;
}

__global__ void __launch_bounds__(kThreads)
    fill_kernel(const SpmmTensorPlan plan, const std::int32_t* __restrict__ row_offsets,
                const std::int32_t* __restrict__ col_indices, std::int64_t lists) {
  __shared__ unsigned rows_of_bank[kWarps][32], banks_of_rank[kWarps][32];
  __shared__ int first_of_rank[kWarps][32];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const std::int64_t list = std::int64_t{blockIdx.x} * kWarps + warp;
  if (list >= lists) return;
  const RowPart part = row_part(plan, row_offsets, col_indices, list, lane);
  const int count = __reduce_add_sync(kAll, part.end - part.begin);
  const int padded = (count + layout::kListMultiple - 1) & -layout::kListMultiple;
  const std::int64_t offset = plan.list_offsets[list];

  int placed = 0;
  for (int half = 0; half < 2; ++half) {
    unsigned banks = 0;  // of this row
    for (std::int32_t i = part.begin; i < part.end; ++i) {
      const int byte = layout::tile_byte(lane, static_cast<int>(col_indices[i] - part.first_column));
      if ((byte >> 1 & 1) == half) banks |= 1u << (byte >> 2 & 31);
    }
    unsigned rows = 0;  // of bank `lane`
    for (int b = 0; b < 32; ++b) {
      const unsigned with_bank = __ballot_sync(kAll, banks >> b & 1);
      if (lane == b) rows = with_bank;
    }
    rows_of_bank[warp][lane] = rows;
    for (int rank = 0; rank < 32; ++rank) {
      const unsigned with_rank = __ballot_sync(kAll, __popc(rows) > rank);
      if (lane == rank) {
        banks_of_rank[warp][rank] = with_rank;
        first_of_rank[warp][rank] = placed;
      }
      placed += __popc(with_rank);
    }
    __syncwarp();
    for (std::int32_t i = part.begin; i < part.end; ++i) {
      const int byte = layout::tile_byte(lane, static_cast<int>(col_indices[i] - part.first_column));
      if ((byte >> 1 & 1) != half) continue;
      const int bank = byte >> 2 & 31;
      const int rank = __popc(rows_of_bank[warp][bank] & ((1u << lane) - 1));
      int e = first_of_rank[warp][rank] + __popc(banks_of_rank[warp][rank] & ((1u << bank) - 1));
      // The last entry fills the padding too: writing it again is harmless, and the kernel needs no bounds.
      for (const int stop = e == count - 1 ? padded : e + 1; e < stop; ++e) {
        const std::int64_t slot = offset + layout::slot_of(e, padded);
        plan.positions[slot] = static_cast<std::uint16_t>(byte);
        plan.sources[slot] = i;
      }
    }
    __syncwarp();
  }
}

__device__ __forceinline__ float as_float(float x) { return x; }
__device__ __forceinline__ float as_float(Bf16 x) { return to_float(x); }

struct __align__(8) Quad {
  Bf16 x[4];
};

/// Neighbouring lists take neighbouring entries of the same 32 rows: gathered sectors are found again in L1.
template <class T>
__global__ void __launch_bounds__(kThreads)
    pack_bf16_kernel(const std::int32_t* __restrict__ sources, const std::int32_t* __restrict__ total,
                     const T* __restrict__ values, Bf16* __restrict__ packed) {
  const std::int64_t at = (std::int64_t{blockIdx.x} * kThreads + threadIdx.x) * 4;
  if (at >= *total) return;
  const int4 source = *reinterpret_cast<const int4*>(sources + at);
  const float x[4] = {as_float(values[source.x]), as_float(values[source.y]), as_float(values[source.z]),
                      as_float(values[source.w])};
  Quad out;
#pragma unroll
  for (int i = 0; i < 4; ++i) out.x[i] = to_bf16(x[i]);
  *reinterpret_cast<Quad*>(packed + at) = out;
}

/// factors[row] = the power of two below the row's largest magnitude; a warp per row.
__global__ void __launch_bounds__(kThreads)
    row_factors_kernel(std::int64_t m, const std::int32_t* __restrict__ row_offsets, const float* __restrict__ values,
                       float* __restrict__ factors) {
  wait_for_previous();
  const std::int64_t row = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= m) return;
  unsigned most = 0;  // magnitudes are ordered as their bits are
  for (std::int32_t i = row_offsets[row] + threadIdx.x % 32; i < row_offsets[row + 1]; i += 32)
    most = max(most, __float_as_uint(values[i]) & 0x7fffffff);
  most = __reduce_max_sync(kAll, most);
  // The scale's exponent, 268 - this, must exist; a row that is not finite gets a finite scale and stays so.
  if (threadIdx.x % 32 == 0) factors[row] = __uint_as_float(min(max(most >> 23, 15u), 254u) << 23);
}

/// A value, scaled so that its row's largest lies in [2^14, 2^15), as the sum of two f16; a warp per list.
__global__ void __launch_bounds__(kThreads)
    pack_split_kernel(const SpmmTensorPlan plan, std::int64_t lists, const float* __restrict__ values,
                      const float* __restrict__ factors, std::uint32_t* __restrict__ packed) {
  wait_for_previous();
  const std::int64_t list = std::int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (list >= lists) return;
  const std::int64_t row = list / plan.slabs * layout::kPanelRows + threadIdx.x % 32;
  const unsigned exponent = row < plan.m ? __float_as_uint(factors[row]) >> 23 : 127;
  const float scale = __uint_as_float((268 - exponent) << 23);  // of the panel's row `lane`
  const std::int32_t end = plan.list_offsets[list + 1];
  for (std::int32_t first = plan.list_offsets[list]; first < end; first += 32) {
    const std::int32_t at = first + threadIdx.x % 32;
    const bool inside = at < end;
    const int in_panel = inside ? plan.positions[at] / layout::kRowBytes : 0;
    const float x = (inside ? values[plan.sources[at]] : 0.0f) * __shfl_sync(kAll, scale, in_panel);
    const __half high = __float2half_rn(x), low = __float2half_rn(x - __half2float(high));
    if (inside) packed[at] = __half_as_ushort(high) | std::uint32_t{__half_as_ushort(low)} << 16;
  }
}

}  // namespace

std::size_t spmm_tensor_build_scratch_bytes(CudaStream, const SpmmTensorPlan& plan) {
  const std::int64_t lists = lists_of(plan);
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, temporary, static_cast<std::int32_t*>(nullptr),
                                                  static_cast<std::int32_t*>(nullptr), lists + 1));
  return rounded((lists + 1) * sizeof(std::int32_t)) + temporary;
}

void spmm_tensor_build(CudaStream stream, const SpmmTensorPlan& plan, const std::int32_t* row_offsets,
                       const std::int32_t* col_indices, void* scratch) {
  const std::int64_t lists = lists_of(plan);
  auto* counts = static_cast<std::int32_t*>(scratch);
  void* rest = static_cast<char*>(scratch) + rounded((lists + 1) * sizeof(std::int32_t));
  count_kernel<<<static_cast<unsigned>(ceil_div(lists + 1, kWarps)), kThreads, 0, cuda(stream)>>>(
      plan, row_offsets, col_indices, lists, counts);
  LACUNA_CUDA_LAUNCHED("spmm_tensor count");
  std::size_t temporary = 0;
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(nullptr, temporary, counts, plan.list_offsets, lists + 1));
  LACUNA_CUDA_CHECK(cub::DeviceScan::ExclusiveSum(rest, temporary, counts, plan.list_offsets, lists + 1, cuda(stream)));
  if (plan.nnz == 0) return;
  fill_kernel<<<static_cast<unsigned>(ceil_div(lists, kWarps)), kThreads, 0, cuda(stream)>>>(plan, row_offsets,
                                                                                             col_indices, lists);
  LACUNA_CUDA_LAUNCHED("spmm_tensor fill");
}

void spmm_tensor_pack(CudaStream stream, const SpmmTensorPlan& plan, const std::int32_t* row_offsets,
                      const float* values, void* packed) {
  auto* factors = const_cast<float*>(spmm_tensor_row_factors(plan, packed));
  if (plan.m == 0) return;
  const dim3 row_blocks(static_cast<unsigned>(ceil_div(plan.m, kWarps)));
  launch_early(cuda(stream), row_factors_kernel, row_blocks, kThreads, 0, 1, plan.m, row_offsets, values, factors);
  if (plan.capacity == 0) return;
  const std::int64_t lists = lists_of(plan);
  const dim3 list_blocks(static_cast<unsigned>(ceil_div(lists, kWarps)));
  launch_early(cuda(stream), pack_split_kernel, list_blocks, kThreads, 0, 1, plan, lists, values, factors,
               static_cast<std::uint32_t*>(packed));
}

template <class T>
void spmm_tensor_pack_bf16(CudaStream stream, const SpmmTensorPlan& plan, const T* values, Bf16* packed) {
  if (plan.capacity == 0) return;
  const auto blocks = static_cast<unsigned>(ceil_div(plan.capacity, 4 * kThreads));
  pack_bf16_kernel<T>
      <<<blocks, kThreads, 0, cuda(stream)>>>(plan.sources, plan.list_offsets + lists_of(plan), values, packed);
  LACUNA_CUDA_LAUNCHED("spmm_tensor_pack_bf16");
}

template void spmm_tensor_pack_bf16<float>(CudaStream, const SpmmTensorPlan&, const float*, Bf16*);
template void spmm_tensor_pack_bf16<Bf16>(CudaStream, const SpmmTensorPlan&, const Bf16*, Bf16*);

}  // namespace lacuna::kernels
