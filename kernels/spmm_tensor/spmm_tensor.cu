// f32 SpMM on Hopper's tensor cores: the kernel and its launch. producer.cuh and consumer.cuh are its two kinds of
// warps.
//
// A block makes 128 x 128 of C. A stage is 64 k: B's slab by tensor copy (32 KiB), A's dense tiles of high and low
// parts by scattering (16 KiB each); three stages. Blocks stay and take tiles in turn.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/common/dependent_launch.cuh"
#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm_tensor/consumer.cuh"
#include "kernels/spmm_tensor/producer.cuh"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

namespace {

namespace layout = spmm_tensor_layout;

using Shape = SpmmTensorShape<128, 3, 2, 320, 11>;
constexpr int kGroupRows = 4096;  // of C, walked together; 1024 to 4096 made no difference

template <class S>
__global__ void __launch_bounds__(S::kThreads, 1)
    spmm_tensor_kernel(const __grid_constant__ SpmmTensorArguments p, const __grid_constant__ CUtensorMap b) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)  // sm_90a; other targets get a stub, which spmm_tensor_supports knows
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
      barrier_init(shared.empty + 8 * stage, 8);  // the consumer warps
    }
    for (int warp = 0; warp < 4 * S::kSets; ++warp) barrier_init(shared.listed + 8 * warp, 1);
    barrier_init_fence();
  }
  wait_for_previous();  // packing may have run so far; from here on global memory is read
  __syncthreads();

  const int warpgroup = threadIdx.x / 128;
  if (warpgroup < 2) {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(S::kConsumerRegisters));
    SpmmTensorConsumer<S>(p, shared, warpgroup).run();
  } else {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(S::kProducerRegisters));
    SpmmTensorProducer<S>(p, b, shared, threadIdx.x / 32 - 8).run();
  }
#else
  __trap();
#endif
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
CUtensorMap map_of(const Dense<const float>& b) {
  CUtensorMap map = {};
  if (b.rows == 0) return map;  // no slab will be copied
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(b.cols), static_cast<cuuint64_t>(b.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(b.ld) * sizeof(float)};
  const cuuint32_t box[2] = {layout::kRowBytes / sizeof(float), layout::kSlabK};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult status = encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 2, const_cast<float*>(b.data), dims, strides,
                                    box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw runtime::Failure{static_cast<int>(status), "spmm_tensor: cuTensorMapEncodeTiled refused B", false};
  return map;
}

}  // namespace

bool spmm_tensor_supports(CudaStream, const SpmmTensorPlan& plan, const Dense<const float>& b, const Dense<float>& c) {
  constexpr std::int64_t kMost = 0x7fffffff;
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, spmm_tensor_kernel<Shape>));
  if (attributes.numRegs < 128) return false;  // the stub of a build without sm_90a
  const std::int64_t tiles = ceil_div(c.rows, layout::kTileM) * ceil_div(c.cols, layout::kTileN);
  return c.batch == 1 && b.batch == 1 && c.rows < kMost - 256 && c.cols < kMost - 256 && b.rows < kMost - 256 &&
         plan.capacity < kMost - 1024 && plan.panels * plan.slabs < kMost && tiles < kMost / 2 &&
         reinterpret_cast<std::uintptr_t>(b.data) % 16 == 0 && b.ld % 4 == 0;
}

void spmm_tensor(CudaStream stream, const SpmmTensorPlan& plan, const void* packed, const Dense<const float>& b,
                 const Dense<float>& c, const Epilogue<const float>& epilogue) {
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
  p.m_tiles = static_cast<int>(ceil_div(c.rows, layout::kTileM));
  p.n_tiles = static_cast<int>(ceil_div(c.cols, layout::kTileN));
  p.group = kGroupRows / layout::kTileM;
  p.pairs = reinterpret_cast<std::uintptr_t>(c.data) % (2 * sizeof(float)) == 0 && c.ld % 2 == 0;
  const std::int64_t tiles = std::int64_t{p.m_tiles} * p.n_tiles;
  if (tiles == 0) return;
  const CUtensorMap map = map_of(b);
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(spmm_tensor_kernel<Shape>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                         Shape::kSharedBytes));
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(tiles, multiprocessors));
  launch_early(static_cast<cudaStream_t>(stream.handle), spmm_tensor_kernel<Shape>, dim3(blocks), Shape::kThreads,
               Shape::kSharedBytes, 1, p, map);
}

}  // namespace lacuna::kernels
