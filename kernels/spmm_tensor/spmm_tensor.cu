// SpMM on Hopper's tensor cores: the kernel and its launch. producer.cuh and consumer.cuh are its two kinds of warps.
//
// A block makes 128 columns of C by 128 or 256 rows. A stage is 128 bytes of a tile's rows: B's slab by tensor copy, A's
// dense tile by scattering. It has 48 KiB (TF32, bf16: slab 16, 256 rows 32), 32 KiB (128 rows) or 64 KiB (f32: slab 32,
// high and low tiles 16 each).
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm_tensor/consumer.cuh"
#include "kernels/spmm_tensor/consumer_split.cuh"
#include "kernels/spmm_tensor/producer.cuh"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

namespace {

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    spmm_tensor_kernel(const __grid_constant__ SpmmTensorArguments p, const __grid_constant__ CUtensorMap b) {
  extern __shared__ char memory[];
  const std::uint32_t base = shared_address(memory);
  SpmmTensorShared shared;
  shared.stages = (base + 1023) & ~1023u;
  shared.kept = shared.stages + S::kStages * S::kStageBytes;
  shared.staged = shared.kept + S::kStages * S::kKeptBytes;
  shared.full = shared.staged + S::kStagedBytes;
  shared.empty = shared.full + 8 * S::kStages;
  shared.listed = shared.empty + 8 * S::kStages;

  // Tiles start as zeros, none of them kept.
  for (int i = threadIdx.x; i < S::kStages * (S::kStageBytes + S::kKeptBytes) / 16; i += S::kThreads)
    reinterpret_cast<uint4*>(memory + (shared.stages - base))[i] = make_uint4(0, 0, 0, 0);
  shared_writes_to_async();
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < S::kStages; ++stage) {
      barrier_init(shared.full + 8 * stage, 4);   // a set's warps, each with its part of B's slab
      barrier_init(shared.empty + 8 * stage, 8);     // the consumer warps
    }
    for (int warp = 0; warp < 4 * S::kSets; ++warp) barrier_init(shared.listed + 8 * warp, 1);
    barrier_init_fence();
  }
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup < 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsumerRegisters));
    std::conditional_t<S::kSplit, SpmmTensorSplitConsumer<S>, SpmmTensorConsumer<S>>(p, shared, warpgroup).run();
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::kProducerRegisters));
    SpmmTensorProducer<S>(p, b, shared, threadIdx.x / 32 - 8).run();
  }
}

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

/// The driver's encoder, asked for at run time: nothing needs to link with libcuda.
EncodeTiled encoder() {
  static const EncodeTiled found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    LACUNA_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess)
      throw runtime::Failure{static_cast<int>(cudaErrorNotSupported),
                             "spmm_tensor: the driver has no cuTensorMapEncodeTiled", false};
    return reinterpret_cast<EncodeTiled>(entry);
  }();
  return found;
}

/// B in boxes of 128 bytes of n by a slab's k, swizzled; zeros outside.
template <class T>
CUtensorMap map_of(const Dense<const T>& b, int slab_k) {
  CUtensorMap map = {};
  if (b.rows == 0) return map;  // no slab will be copied
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(b.cols), static_cast<cuuint64_t>(b.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(b.ld) * sizeof(T)};
  const cuuint32_t box[2] = {spmm_tensor_layout::kRowBytes / sizeof(T), static_cast<cuuint32_t>(slab_k)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult status =
      encoder()(&map, sizeof(T) == 4 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2,
                const_cast<T*>(b.data), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw runtime::Failure{static_cast<int>(status), "spmm_tensor: cuTensorMapEncodeTiled refused B", false};
  return map;
}

template <class S, class T>
void launch(CudaStream stream, const SpmmTensorPlan& plan, const void* packed, const Dense<const T>& b,
            const Dense<T>& c, const Epilogue<const float>& epilogue) {
  static_assert(sizeof(T) == S::kDenseElement);
  SpmmTensorArguments p = {};
  p.list_offsets = plan.list_offsets;
  p.positions = plan.positions;
  p.packed = packed;
  p.row_factors = spmm_tensor_row_factors(plan, packed);
  p.bias = epilogue.bias;
  p.activation = epilogue.activation;
  p.c = c.data;
  p.c_ld = c.ld;
  p.m = static_cast<int>(c.rows);
  p.n = static_cast<int>(c.cols);
  p.panels = static_cast<int>(plan.panels);
  p.slabs = static_cast<int>(plan.slabs);
  p.m_tiles = static_cast<int>(ceil_div(c.rows, S::kRows));
  p.n_tiles = static_cast<int>(ceil_div(c.cols, spmm_tensor_layout::kTileN));
  p.group = S::kGroupRows / S::kRows;
  p.pairs = reinterpret_cast<std::uintptr_t>(c.data) % (2 * sizeof(T)) == 0 && c.ld % 2 == 0;
  const std::int64_t tiles = std::int64_t{p.m_tiles} * p.n_tiles;
  if (tiles == 0) return;
  const CUtensorMap map = map_of(b, S::kSlabK);
  LACUNA_CUDA_CHECK(
      cudaFuncSetAttribute(spmm_tensor_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(tiles, multiprocessors));
  spmm_tensor_kernel<S><<<blocks, S::kThreads, S::kSharedBytes, static_cast<cudaStream_t>(stream.handle)>>>(p, map);
  LACUNA_CUDA_LAUNCHED("spmm_tensor");
}

/// 256 rows a block halve the traffic for B's slabs; 128 leave fewer processors idle when C is small.
template <SpmmTensorMath kMath, class T>
void launch_fitting(CudaStream stream, const SpmmTensorPlan& plan, const void* packed, const Dense<const T>& b,
                    const Dense<T>& c, const Epilogue<const float>& epilogue) {
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  const std::int64_t n_tiles = ceil_div(c.cols, spmm_tensor_layout::kTileN);
  const auto rows_in_turn = [&](std::int64_t rows) {
    return ceil_div(ceil_div(c.rows, rows) * n_tiles, multiprocessors) * rows;
  };
  if (rows_in_turn(256) * 9 <= rows_in_turn(128) * 10)
    launch<SpmmTensorShape<kMath, 256, 4, 2, kMath == SpmmTensorMath::tf32 ? 200 : 256>>(stream, plan, packed, b, c, epilogue);
  else
    launch<SpmmTensorShape<kMath, 128, 6, 2, 320>>(stream, plan, packed, b, c, epilogue);
}

}  // namespace

template <class T>
bool spmm_tensor_supports(CudaStream, const SpmmTensorPlan& plan, SpmmTensorMath math, const Dense<const T>& b,
                          const Dense<T>& c) {
  constexpr std::int64_t kMost = 0x7fffffff;
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  const std::int64_t tiles = ceil_div(c.rows, 128) * ceil_div(c.cols, 128);
  return major == 9 && minor == 0 && c.batch == 1 && b.batch == 1 && plan.element_bytes == (math == SpmmTensorMath::tf32 ? 4 : 2) &&
         (math == SpmmTensorMath::bf16) == (sizeof(T) == 2) &&
         c.rows < kMost - 256 && c.cols < kMost - 256 && b.rows < kMost - 256 && plan.capacity < kMost - 1024 &&
         plan.panels * plan.slabs < kMost && tiles < kMost / 2 && reinterpret_cast<std::uintptr_t>(b.data) % 16 == 0 &&
         b.ld * sizeof(T) % 16 == 0;
}

template <class T>
void spmm_tensor(CudaStream stream, const SpmmTensorPlan& plan, SpmmTensorMath math, const void* packed,
                 const Dense<const T>& b, const Dense<T>& c, const Epilogue<const float>& epilogue) {
  if constexpr (sizeof(T) == 2) {
    launch_fitting<SpmmTensorMath::bf16>(stream, plan, packed, b, c, epilogue);
  } else if (math == SpmmTensorMath::tf32) {
    launch_fitting<SpmmTensorMath::tf32>(stream, plan, packed, b, c, epilogue);
  } else {
    launch<SpmmTensorShape<SpmmTensorMath::f32, 128, 3, 1, 512>>(stream, plan, packed, b, c, epilogue);
  }
}

template bool spmm_tensor_supports<float>(CudaStream, const SpmmTensorPlan&, SpmmTensorMath,
                                          const Dense<const float>&, const Dense<float>&);
template bool spmm_tensor_supports<Bf16>(CudaStream, const SpmmTensorPlan&, SpmmTensorMath,
                                         const Dense<const Bf16>&, const Dense<Bf16>&);
template void spmm_tensor<float>(CudaStream, const SpmmTensorPlan&, SpmmTensorMath, const void*,
                                 const Dense<const float>&, const Dense<float>&, const Epilogue<const float>&);
template void spmm_tensor<Bf16>(CudaStream, const SpmmTensorPlan&, SpmmTensorMath, const void*,
                                const Dense<const Bf16>&, const Dense<Bf16>&, const Epilogue<const float>&);

}  // namespace lacuna::kernels
