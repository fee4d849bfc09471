// The host's side of the bf16 product. The kernel is in product.cuh.
#include <algorithm>

#include "kernels/bf16_product/bf16_product.h"
#include "kernels/bf16_product/product.cuh"
#include "kernels/pointwise/pointwise.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"
#include "kernels/sddmm/sddmm_plan.h"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kMost = std::int64_t{1} << 30;
constexpr int kGroupPanels = 4;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

using EncodeTiled = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                                 const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

EncodeTiled encoder() {
  static const EncodeTiled found = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    LACUNA_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &result));
    if (result != cudaDriverEntryPointSuccess)
      throw runtime::Failure{static_cast<int>(cudaErrorNotSupported),
                             "bf16_product: the driver has no cuTensorMapEncodeTiled", false};
    return reinterpret_cast<EncodeTiled>(entry);
  }();
  return found;
}

/// A matrix in boxes of 64 columns by box_rows rows, swizzled; zeros outside.
CUtensorMap map_of(const Dense<const Bf16>& x, int box_rows) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(x.cols), static_cast<cuuint64_t>(x.rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(x.ld) * sizeof(Bf16)};
  const cuuint32_t box[2] = {64, static_cast<cuuint32_t>(box_rows)}, steps[2] = {1, 1};
  CUtensorMap map = {};
  const CUresult status = encoder()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<Bf16*>(x.data), dims, strides,
                                    box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                    CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw runtime::Failure{static_cast<int>(status), "bf16_product: cuTensorMapEncodeTiled refused an operand", false};
  return map;
}

/// Clusters that run at once: no more are launched, for blocks wait for what other blocks write.
template <class S>
int most_clusters(CudaStream stream) {
  static int found[64] = {};  // by device
  int device = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  int& clusters = found[device % 64];
  if (clusters > 0) return clusters;
  LACUNA_CUDA_CHECK(
      cudaFuncSetAttribute(bf16_product_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {S::kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(stream.multiprocessors) / S::kCluster * S::kCluster);
  config.blockDim = dim3(S::kThreads);
  config.dynamicSmemBytes = S::kSharedBytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  int most = 0;
  LACUNA_CUDA_CHECK(cudaOccupancyMaxActiveClusters(&most, bf16_product_kernel<S>, &config));
  clusters = std::max(1, std::min(most, static_cast<int>(config.gridDim.x) / S::kCluster));
  return clusters;
}

template <class S>
void launch(CudaStream stream, const Dense<const Bf16>& a, const Dense<const Bf16>& b, Bf16ProductArguments p) {
  p.slabs = static_cast<int>(ceil_div(b.rows, S::kSlab));
  p.panels = static_cast<int>(ceil_div(p.m, S::kPanel));
  p.col_tiles = static_cast<int>(ceil_div(p.n, S::kCols));
  p.group = std::min(kGroupPanels, p.panels);
  p.chunks = static_cast<int>(ceil_div(b.rows, S::kChunk));
  p.flags = static_cast<unsigned*>(stream.libraries->flags);
  const int clusters = std::min(most_clusters<S>(stream), p.panels * p.col_tiles);
  launch_early(static_cast<cudaStream_t>(stream.handle), bf16_product_kernel<S>,
               dim3(static_cast<unsigned>(clusters * S::kCluster)), S::kThreads, S::kSharedBytes, S::kCluster,
               map_of(a, S::kOf == Bf16ProductRows::rows ? S::kRows : 64), map_of(b, S::kSlab),
               map_of({p.c, p.m, p.n, p.c_ld}, 16), p);
}

void launch_either(CudaStream stream, bool transpose_a, const Dense<const Bf16>& a, const Dense<const Bf16>& b,
                   const Bf16ProductArguments& p) {
  if (transpose_a)
    launch<Bf16ProductShape<Bf16ProductRows::columns>>(stream, a, b, p);
  else
    launch<Bf16ProductShape<Bf16ProductRows::rows>>(stream, a, b, p);
}

Bf16ProductArguments arguments_of(const Dense<Bf16>& c, const Epilogue<const float>& epilogue) {
  Bf16ProductArguments p = {};
  p.c = c.data;
  p.c_ld = c.ld;
  p.m = static_cast<int>(c.rows);
  p.n = static_cast<int>(c.cols);
  if (epilogue.activation == Activation::gelu) return p;  // follows by itself: 128 of them would not fit the kernel
  p.bias = epilogue.bias;
  p.relu = epilogue.activation == Activation::relu;
  return p;
}

void finish(CudaStream stream, const Dense<Bf16>& c, const Epilogue<const float>& epilogue) {
  if (epilogue.activation == Activation::gelu)
    apply_epilogue<Bf16>(stream, {c.data, c.rows, c.cols, c.ld}, epilogue, {c.data, c.rows, c.cols, c.ld});
}

using Any = Bf16ProductShape<Bf16ProductRows::rows>;

bool on_16_bytes(const void* data, std::int64_t ld) {
  return reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && ld % 8 == 0;
}

}  // namespace

bool bf16_product_supports(CudaStream stream, std::int64_t rows, std::int64_t cols, const Dense<const Bf16>& b,
                           const Dense<Bf16>& c) {
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, bf16_product_kernel<Any>));
  if (attributes.numRegs < 128) return false;  // the stub of a build without sm_90a
  const auto flags =
      static_cast<std::size_t>(ceil_div(rows, Any::kPanel) * ceil_div(cols, Any::kChunk) + 1) * sizeof(unsigned);
  return rows > 0 && cols > 0 && b.cols > 0 && b.cols % 8 == 0 && b.batch == 1 && c.batch == 1 &&
         on_16_bytes(b.data, b.ld) && on_16_bytes(c.data, c.ld) && rows < kMost && cols < kMost && b.cols < kMost &&
         ceil_div(c.rows, 128) * ceil_div(c.cols, 256) < kMost / 64 && flags <= stream.libraries->flag_bytes;
}

void bf16_product(CudaStream stream, const Csr<const Bf16>& a, const void* plan, const Dense<const Bf16>& b,
                  const Dense<Bf16>& c, bool transpose_a, const Epilogue<const float>& epilogue, void* scratch) {
  Bf16ProductArguments p = arguments_of(c, epilogue);
  const SddmmPlan view = sddmm_plan_view(plan, a.rows, a.cols, a.nnz);
  p.starts = view.starts;
  p.row_offsets = a.row_offsets;
  p.col_indices = a.col_indices;
  p.values = reinterpret_cast<const std::uint16_t*>(a.values);
  p.dense = static_cast<std::uint16_t*>(scratch);
  p.dense_ld = bf16_product_ld(a.cols);
  p.rows = static_cast<int>(a.rows);
  p.cols = static_cast<int>(a.cols);
  p.nnz = static_cast<int>(a.nnz);
  p.col_groups = static_cast<int>(view.groups);
  const Dense<const Bf16> dense{static_cast<const Bf16*>(scratch), a.rows, a.cols, p.dense_ld};
  if (stream.libraries->clears_results) {  // initcheck does not see the copy engine's stores
    LACUNA_CUDA_CHECK(cudaMemset2DAsync(c.data, static_cast<std::size_t>(c.ld) * sizeof(Bf16), 0,
                                        static_cast<std::size_t>(c.cols) * sizeof(Bf16),
                                        static_cast<std::size_t>(c.rows), static_cast<cudaStream_t>(stream.handle)));
  }
  launch_either(stream, transpose_a, dense, b, p);
  finish(stream, c, epilogue);
}

}  // namespace lacuna::kernels
