// f32 SpMM on Hopper's tensor cores: sizes and launches. densify.cuh and product.cuh are its kernels.
#include <cuda.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "kernels/runtime/cuda_check.h"
#include "kernels/spmm_tensor/densify.cuh"
#include "kernels/spmm_tensor/product.cuh"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

namespace {

namespace layout = spmm_tensor_layout;

using Wide = SpmmTensorShape<128, 128, 3>;
using Middle = SpmmTensorShape<128, 64, 4>;
using Small = SpmmTensorShape<64, 64, 6>;

constexpr std::int64_t kMost = 1 << 30;
constexpr std::int64_t kGroupRows = 4096;               // of C, walked together; 1024 to 4096 made no difference
constexpr std::int64_t kCopyBytes = 128 * 1024 * 1024;  // of the dense copies at once
constexpr std::int64_t kTallestTile = 128;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
std::int64_t copy_ld(std::int64_t k) { return ceil_div(k, 8) * 8; }

/// Rows of A that are dense at once.
std::int64_t rows_at_once(std::int64_t m, std::int64_t k) {
  const std::int64_t rows = kCopyBytes / (4 * std::max<std::int64_t>(copy_ld(k), 1)) / kTallestTile * kTallestTile;
  return std::min(m, std::max(rows, kTallestTile));
}

bool rows_on_16_bytes(const Dense<const float>& b) {
  return reinterpret_cast<std::uintptr_t>(b.data) % 16 == 0 && b.ld % 4 == 0;
}

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

/// A matrix in boxes of 128 bytes by box_rows rows, swizzled; zeros outside.
CUtensorMap map_of(CUtensorMapDataType type, std::int64_t size, const void* data, std::int64_t rows, std::int64_t cols,
                   std::int64_t ld, int box_rows) {
  CUtensorMap map = {};
  if (rows == 0 || cols == 0) return map;  // no slab will be copied
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(ld * size)};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(layout::kRowBytes / size), static_cast<cuuint32_t>(box_rows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult status =
      encoder()(&map, type, 2, const_cast<void*>(data), dims, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw runtime::Failure{static_cast<int>(status), "spmm_tensor: cuTensorMapEncodeTiled refused an operand", false};
  return map;
}

template <int kThreads, int kRows, int kKept>
void launch_densify(CudaStream stream, const Csr<const float>& a, const Dense<const float>& b,
                    const SpmmTensorCopies& copies) {
  constexpr int kBlock = kThreads * kRows;
  const std::int64_t b_blocks = copies.b ? std::min<std::int64_t>(ceil_div(b.rows, kBlock / 32), 2112) : 0;
  const std::size_t shared = std::min<std::int64_t>(copies.ld * kRows, kDensifyChunk) * 4;
  launch_early(stream, spmm_tensor_densify_kernel<kThreads, kRows, kKept>,
               dim3(static_cast<unsigned>(ceil_div(a.rows, kRows) + b_blocks)), kBlock, shared, 1, a, b, copies);
}

/// By the entries of an average row, nnz / m: most rows should stay in registers.
void densify(CudaStream stream, const Csr<const float>& a, std::int64_t m, const Dense<const float>& b,
             const SpmmTensorCopies& copies) {
  if (a.nnz < 300 * m && a.rows >= 1024 && a.cols <= 2048)  // many short rows: starting a block for each takes longer
    launch_densify<64, 4, 8>(stream, a, b, copies);
  else if (a.nnz < 300 * m)
    launch_densify<64, 1, 8>(stream, a, b, copies);
  else if (a.nnz < 700 * m)
    launch_densify<128, 1, 8>(stream, a, b, copies);
  else
    launch_densify<256, 1, 10>(stream, a, b, copies);
}

template <class S>
void launch_product(CudaStream stream, SpmmTensorArguments p, const SpmmTensorCopies& copies,
                    const Dense<const float>& b) {
  const std::int64_t m_tiles = ceil_div(p.m, S::kRows), n_tiles = ceil_div(p.n, S::kCols);
  p.m_tiles = static_cast<int>(m_tiles), p.n_tiles = static_cast<int>(n_tiles);
  p.group = static_cast<int>(kGroupRows / S::kRows);
  const CUtensorMap a_map =
      map_of(CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, copies.high, 2 * std::int64_t{p.m}, b.rows, copies.ld, S::kRows);
  const CUtensorMap b_map = map_of(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, b.data, b.rows, b.cols, b.ld, layout::kSlabK);
  LACUNA_CUDA_CHECK(
      cudaFuncSetAttribute(spmm_tensor_kernel<S>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::kSharedBytes));
  std::int64_t clusters = m_tiles * n_tiles;
  if (S::kGroupParts * p.splits == 1)  // blocks stay and take tiles in turn
    clusters = std::min<std::int64_t>(clusters, stream.multiprocessors > 0 ? stream.multiprocessors : 132);
  launch_early(stream, spmm_tensor_kernel<S>, dim3(static_cast<unsigned>(clusters * p.splits)), S::kThreads,
               S::kSharedBytes, static_cast<unsigned>(p.splits), p, a_map, b_map);
}

}  // namespace

std::size_t spmm_tensor_scratch_bytes(const Csr<const float>& a, const Dense<const float>& b) {
  const std::int64_t rows = rows_at_once(a.rows, a.cols);
  return rounded(2 * rows * copy_ld(a.cols) * sizeof(std::uint16_t)) + rounded(rows * sizeof(float)) +
         (rows_on_16_bytes(b) ? 0 : rounded(b.rows * ceil_div(b.cols, 4) * 4 * sizeof(float)));
}

bool spmm_tensor_supports(CudaStream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c) {
  int device = 0, major = 0, minor = 0;
  LACUNA_CUDA_CHECK(cudaGetDevice(&device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  LACUNA_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  if (major != 9 || minor != 0) return false;
  cudaFuncAttributes attributes = {};
  LACUNA_CUDA_CHECK(cudaFuncGetAttributes(&attributes, spmm_tensor_kernel<Wide>));
  if (attributes.numRegs < 128) return false;  // the stub of a build without sm_90a
  return a.batch == 1 && b.batch == 1 && c.batch == 1 && c.rows < kMost && c.cols < kMost && a.cols < kMost &&
         ceil_div(c.rows, 64) * ceil_div(c.cols, 64) < kMost / 8;
}

void spmm_tensor(CudaStream stream, const Csr<const float>& a, const Dense<const float>& b, const Dense<float>& c,
                 const Epilogue<const float>& epilogue, const SpmmTensorTiling& tiling, void* scratch) {
  if (c.rows == 0 || c.cols == 0) return;
  const std::int64_t rows = rows_at_once(a.rows, a.cols);
  SpmmTensorCopies copies = {};
  auto* at = static_cast<char*>(scratch);
  copies.ld = copy_ld(a.cols);
  copies.high = reinterpret_cast<std::uint16_t*>(at);
  at += rounded(2 * rows * copies.ld * sizeof(std::uint16_t));
  copies.factors = reinterpret_cast<float*>(at);
  at += rounded(rows * sizeof(float));
  Dense<const float> b_read = b;
  if (!rows_on_16_bytes(b)) {
    copies.b = reinterpret_cast<float*>(at);
    copies.b_ld = ceil_div(b.cols, 4) * 4;
    b_read = {copies.b, b.rows, b.cols, copies.b_ld};
  }
  SpmmTensorArguments p = {};
  p.row_factors = copies.factors;
  p.activation = epilogue.activation;
  p.c_ld = c.ld;
  p.n = static_cast<int>(c.cols);
  p.slabs = static_cast<int>(ceil_div(a.cols, layout::kSlabK));
  p.splits = tiling.splits;
  for (std::int64_t first = 0; first < a.rows; first += rows) {
    Csr<const float> part = a;
    part.rows = std::min(rows, a.rows - first);
    part.row_offsets += first;
    densify(stream, part, a.rows, b, copies);

    p.m = static_cast<int>(part.rows);
    p.c = c.data + first * c.ld;
    p.bias = epilogue.bias ? epilogue.bias + first : nullptr;
    p.pairs = reinterpret_cast<std::uintptr_t>(p.c) % 8 == 0 && c.ld % 2 == 0;
    p.quads = reinterpret_cast<std::uintptr_t>(p.c) % 16 == 0 && c.ld % 4 == 0;
    p.b_is_ready = copies.b == nullptr;
    if (tiling.rows == 64 && tiling.cols == 64)
      launch_product<Small>(stream, p, copies, b_read);
    else if (tiling.cols == 64)
      launch_product<Middle>(stream, p, copies, b_read);
    else
      launch_product<Wide>(stream, p, copies, b_read);
    copies.b = nullptr;  // has been made
  }
}

}  // namespace lacuna::kernels
