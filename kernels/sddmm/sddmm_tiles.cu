// SDDMM in tensor-core tiles: the host's side. The kernel is in sddmm_tiles.cuh.
#include <algorithm>
#include <type_traits>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_tiles.cuh"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kMaxBatchBlocks = 65535;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled encode_tiled() {
  static const EncodeTiled function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result;
    LACUNA_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess) {
      throw runtime::Failure{static_cast<int>(cudaErrorNotSupported),
                             "sddmm_tiles: the driver lacks cuTensorMapEncodeTiled", false};
    }
    return reinterpret_cast<EncodeTiled>(found);
  }();
  return function;
}

template <class T>
constexpr CUtensorMapDataType kMapType = std::is_same_v<T, float>  ? CU_TENSOR_MAP_DATA_TYPE_FLOAT32
                                         : std::is_same_v<T, Half> ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                                   : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;

/// Boxes of 128 bytes of `box_rows` stored rows; what lies past an edge reads as zero.
template <class T>
CUtensorMap tensor_map(const Dense<const T>& x, std::int64_t batch, int box_rows) {
  const bool batched = batch > 1 && x.batch_stride != 0;
  const std::int64_t stride = x.ld * static_cast<std::int64_t>(sizeof(T));
  const cuuint64_t sizes[3] = {static_cast<cuuint64_t>(x.cols), static_cast<cuuint64_t>(x.rows),
                               static_cast<cuuint64_t>(batched ? batch : 1)};
  const cuuint64_t strides[2] = {
      static_cast<cuuint64_t>(stride),
      static_cast<cuuint64_t>(batched ? x.batch_stride * static_cast<std::int64_t>(sizeof(T)) : stride * x.rows)};
  const cuuint32_t box[3] = {kPieceBytes / sizeof(T), static_cast<cuuint32_t>(box_rows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  CUtensorMap map;
  const CUresult result = encode_tiled()(&map, kMapType<T>, 3, const_cast<T*>(x.data), sizes, strides, box, steps,
                                         CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                         CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) {
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue),
                           "sddmm_tiles: cuTensorMapEncodeTiled refused an operand", false};
  }
  return map;
}

template <SddmmMath kMath, int kCols, bool kMasked, bool kTurnedA, bool kTurnedB, class In, class Out>
void launch_tiles(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, std::int64_t batch,
                  TileProblem p, Out* out, int multiprocessors) {
  using L = Layout<kMath, kCols, kMasked>;
  p.row_tiles = static_cast<int>(ceil_div(p.m, kRows));
  p.col_tiles = static_cast<int>(ceil_div(p.n, kCols));
  p.items = std::int64_t{p.row_tiles} * p.col_tiles * p.splits * batch;
  const CUtensorMap a_map = tensor_map(a, batch, kTurnedA ? L::kElements : kRows);
  const CUtensorMap b_map = tensor_map(b, batch, kTurnedB ? L::kElements : kCols);
  const auto kernel = sddmm_tiles_kernel<kMath, kCols, kMasked, kTurnedA, kTurnedB, Out>;
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, L::kBytes));
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(p.items, multiprocessors));
  kernel<<<blocks, kThreads, L::kBytes, static_cast<cudaStream_t>(stream.handle)>>>(a_map, b_map, p, out);
  LACUNA_CUDA_LAUNCHED("sddmm_tiles");
}

template <SddmmMath kMath, bool kTurnedA, bool kTurnedB, class In, class Out>
void launch_cols(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, std::int64_t batch,
                 TileProblem p, Out* out, int cols, int multiprocessors) {
  p.pieces = static_cast<int>(ceil_div(kTurnedA ? a.rows : a.cols, Layout<kMath, 128, false>::kElements));
  if constexpr (kMath == SddmmMath::bf16 || kMath == SddmmMath::tf32) {
    if (sddmm_samples_by_masks(kMath, cols, p.plan.masks != nullptr, p.pieces / p.splits)) {
      if (cols == 256)
        return launch_tiles<kMath, 256, true, kTurnedA, kTurnedB>(stream, a, b, batch, p, out, multiprocessors);
      return launch_tiles<kMath, 128, true, kTurnedA, kTurnedB>(stream, a, b, batch, p, out, multiprocessors);
    }
  }
  if constexpr (kMath != SddmmMath::split_tf32) {
    if (cols == 256)
      return launch_tiles<kMath, 256, false, kTurnedA, kTurnedB>(stream, a, b, batch, p, out, multiprocessors);
  }
  launch_tiles<kMath, 128, false, kTurnedA, kTurnedB>(stream, a, b, batch, p, out, multiprocessors);
}

template <class In, class Out>
void launch_math(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, std::int64_t batch,
                 const TileProblem& p, Out* out, SddmmMath math, int cols, int multiprocessors,
                 const SddmmStorage& storage) {
  const auto launch = [&]<SddmmMath kMath, bool kTurnedA = false, bool kTurnedB = false>() {
    launch_cols<kMath, kTurnedA, kTurnedB>(stream, a, b, batch, p, out, cols, multiprocessors);
  };
  if constexpr (std::is_same_v<In, Half>) {
    launch.template operator()<SddmmMath::half>();
  } else if constexpr (sizeof(In) == 4) {
    if (math == SddmmMath::split_tf32)
      launch.template operator()<SddmmMath::split_tf32>();
    else
      launch.template operator()<SddmmMath::tf32>();
  } else {
    constexpr SddmmMath kBf16 = SddmmMath::bf16;
    if constexpr (std::is_same_v<Out, float>) {
      if (storage.transpose_a && storage.transpose_b) return launch.template operator()<kBf16, true, true>();
      if (storage.transpose_a) return launch.template operator()<kBf16, true, false>();
      if (storage.transpose_b) return launch.template operator()<kBf16, false, true>();
    }
    launch.template operator()<kBf16>();
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
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&config, sddmm_add_parts<Out>, parts, c.nnz, c.nnz * c.batch, splits,
                                       c.values_stride, scale, c.values));
}

template <class T>
bool on_16_bytes(const Dense<const T>& x) {
  constexpr std::int64_t kWidth = 16 / sizeof(T);
  return reinterpret_cast<std::uintptr_t>(x.data) % 16 == 0 && x.ld % kWidth == 0 &&
         (x.batch <= 1 || x.batch_stride % kWidth == 0) && x.rows < std::int64_t{1} << 31 &&
         x.cols < std::int64_t{1} << 31;
}

}  // namespace

template <class In>
bool sddmm_tiles_supports(CudaStream, const Dense<const In>& a, const Dense<const In>& b, const SddmmStorage& storage) {
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(
      cudaFuncGetAttributes(&attributes, sddmm_tiles_kernel<SddmmMath::split_tf32, 128, false, false, false, float>));
  if (attributes.numRegs < 96) return false;  // the stub of a build without sm_90a
  if ((storage.transpose_a || storage.transpose_b) && !std::is_same_v<In, Bf16>) return false;
  return (storage.transpose_a ? a.rows : a.cols) > 0 && on_16_bytes(a) && on_16_bytes(b);
}

template <class Out>
std::size_t sddmm_tiles_scratch_bytes(const Csr<Out>& c, const SddmmTiling& tiling) {
  return tiling.splits > 1 ? static_cast<std::size_t>(tiling.splits * c.nnz * c.batch) * sizeof(float) : 0;
}

template <class In, class Out>
void sddmm_tiles(CudaStream stream, const Dense<const In>& a, const Dense<const In>& b, const Csr<Out>& c, float scale,
                 SddmmMath math, const SddmmTiling& tiling, const void* plan, void* scratch,
                 const SddmmFactors& factors, const SddmmStorage& storage) {
  if (c.nnz == 0 || c.batch == 0) return;
  const int multiprocessors = stream.multiprocessors > 0 ? stream.multiprocessors : 132;
  TileProblem p = {};
  p.plan = sddmm_plan_view(plan, c.rows, c.cols, c.nnz);
  p.row_offsets = c.row_offsets;
  p.col_indices = c.col_indices;
  p.factors = factors;
  p.m = static_cast<int>(c.rows);
  p.n = static_cast<int>(c.cols);
  p.splits = tiling.splits;
  p.a_batched = c.batch > 1 && a.batch_stride != 0;
  p.b_batched = c.batch > 1 && b.batch_stride != 0;
  if (tiling.splits == 1) {
    p.c_stride = c.values_stride;
    p.scale = scale;
    launch_math(stream, a, b, c.batch, p, c.values, math, tiling.tile_cols, multiprocessors, storage);
    return;
  }
  p.c_stride = c.nnz;
  p.split_stride = c.nnz * c.batch;
  p.scale = 1.0f;
  if (c.batch > kMaxBatchBlocks) {
    throw runtime::Failure{static_cast<int>(cudaErrorInvalidValue), "sddmm_tiles: a batch over 65535 in parts", false};
  }
  float* parts = static_cast<float*>(scratch);
  launch_math(stream, a, b, c.batch, p, parts, math, tiling.tile_cols, multiprocessors, storage);
  add_parts(stream, parts, c, tiling.splits, scale);
}

template bool sddmm_tiles_supports<float>(CudaStream, const Dense<const float>&, const Dense<const float>&,
                                          const SddmmStorage&);
template bool sddmm_tiles_supports<Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&,
                                         const SddmmStorage&);
template bool sddmm_tiles_supports<Half>(CudaStream, const Dense<const Half>&, const Dense<const Half>&,
                                         const SddmmStorage&);
template std::size_t sddmm_tiles_scratch_bytes<float>(const Csr<float>&, const SddmmTiling&);
template std::size_t sddmm_tiles_scratch_bytes<Bf16>(const Csr<Bf16>&, const SddmmTiling&);
template void sddmm_tiles<float, float>(CudaStream, const Dense<const float>&, const Dense<const float>&,
                                        const Csr<float>&, float, SddmmMath, const SddmmTiling&, const void*, void*,
                                        const SddmmFactors&, const SddmmStorage&);
template void sddmm_tiles<Bf16, float>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&,
                                       const Csr<float>&, float, SddmmMath, const SddmmTiling&, const void*, void*,
                                       const SddmmFactors&, const SddmmStorage&);
template void sddmm_tiles<Bf16, Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&, const Csr<Bf16>&,
                                      float, SddmmMath, const SddmmTiling&, const void*, void*, const SddmmFactors&,
                                      const SddmmStorage&);
template void sddmm_tiles<Half, float>(CudaStream, const Dense<const Half>&, const Dense<const Half>&,
                                       const Csr<float>&, float, SddmmMath, const SddmmTiling&, const void*, void*,
                                       const SddmmFactors&, const SddmmStorage&);

}  // namespace lacuna::kernels
