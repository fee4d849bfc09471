// cuBLASLt works column by column; a row-major matrix is its transpose there. So C = op(A) op(B) is handed over as
// C^T = op(B)^T op(A)^T: operands swapped, nothing copied. Our bias goes along the rows of C, the columns of C^T, for
// which cuBLASLt has no epilogue (and its relu drops NaN, its gelu is the tanh form): a second kernel applies it.
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <string>
#include <type_traits>

#include "kernels/gemm/gemm.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kMostBatches = 32768;  // per call, well inside the grid limits of any kernel it may pick

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw runtime::Failure{static_cast<int>(status), std::string(call) + ": " + cublasLtGetStatusString(status),
                         status == CUBLAS_STATUS_ALLOC_FAILED};
}
#define LACUNA_LT_CHECK(call) check_lt((call), #call)

/// Largest power of two, up to 256, that divides the address: what cuBLASLt may assume of it.
std::uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return static_cast<std::uint32_t>(address == 0 ? 256 : std::min<std::uintptr_t>(address & (~address + 1), 256));
}

template <class T>
constexpr cudaDataType_t kTypeOf = std::is_same_v<std::remove_const_t<T>, Bf16>   ? CUDA_R_16BF
                                   : std::is_same_v<std::remove_const_t<T>, Half> ? CUDA_R_16F
                                                                                  : CUDA_R_32F;

class Layout {
 public:
  /// The column-major view of row-major `matrix`: its columns are our rows.
  template <class T>
  Layout(const Dense<T>& matrix, std::int64_t batch) {
    LACUNA_LT_CHECK(cublasLtMatrixLayoutCreate(&layout_, kTypeOf<T>, static_cast<std::uint64_t>(matrix.cols),
                                               static_cast<std::uint64_t>(matrix.rows),
                                               std::max<std::int64_t>(matrix.ld, 1)));
    if (batch == 1) return;
    const auto count = static_cast<std::int32_t>(batch);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &matrix.batch_stride, sizeof(matrix.batch_stride));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  void set(cublasLtMatrixLayoutAttribute_t attribute, const void* value, std::size_t bytes) {
    LACUNA_LT_CHECK(cublasLtMatrixLayoutSetAttribute(layout_, attribute, value, bytes));
  }
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Product {
 public:
  Product(bool tf32, bool transpose_first, bool transpose_second) {
    LACUNA_LT_CHECK(
        cublasLtMatmulDescCreate(&description_, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, transpose_first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, transpose_second);
  }
  ~Product() { cublasLtMatmulDescDestroy(description_); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  cublasLtMatmulDesc_t get() const { return description_; }
  /// The scalars will be read on the device.
  void take_device_scalars() {
    const auto mode = static_cast<std::int32_t>(CUBLASLT_POINTER_MODE_DEVICE);
    LACUNA_LT_CHECK(
        cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_POINTER_MODE, &mode, sizeof(mode)));
  }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LACUNA_LT_CHECK(cublasLtMatmulDescSetAttribute(description_, attribute, &operation, sizeof(operation)));
  }
  cublasLtMatmulDesc_t description_ = nullptr;
};

class Preference {
 public:
  Preference() { LACUNA_LT_CHECK(cublasLtMatmulPreferenceCreate(&preference_)); }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <class V>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, V value) {
    LACUNA_LT_CHECK(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)));
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

using Key = std::array<std::int64_t, 12>;

/// cuBLASLt's first answer, kept by `key`: everything it may depend on. Null where it has none.
const cublasLtMatmulAlgo_t* algorithm_for(CudaLibraries& libraries, const Key& key, const Product& product,
                                          const Layout& first, const Layout& second, const Layout& result,
                                          const std::array<std::uint32_t, 3>& alignments) {
  auto found = libraries.matmul_algorithms.find(key);
  if (found != libraries.matmul_algorithms.end()) return &found->second;
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, libraries.workspace_bytes);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignments[0]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignments[1]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignments[2]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignments[2]);
  cublasLtMatmulHeuristicResult_t answer = {};
  int answers = 0;
  LACUNA_LT_CHECK(cublasLtMatmulAlgoGetHeuristic(libraries.lt, product.get(), first.get(), second.get(), result.get(),
                                                 result.get(), preference.get(), 1, &answer, &answers));
  return answers > 0 ? &libraries.matmul_algorithms.emplace(key, answer.algo).first->second : nullptr;
}

constexpr int kPlainThreads = 256;

/// One thread an element, summed in f32 in the order of k.
template <class T, class Out>
__global__ void __launch_bounds__(kPlainThreads)
    plain_kernel(Dense<const T> a, Dense<const T> b, Dense<Out> c, std::int64_t batch, std::int64_t k, bool transpose_a,
                 bool transpose_b, bool accumulate) {
  const std::int64_t matrix = c.rows * c.cols, stride = std::int64_t{gridDim.x} * kPlainThreads;
  const std::int64_t step_a = transpose_a ? a.ld : 1, step_b = transpose_b ? 1 : b.ld;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kPlainThreads + threadIdx.x; i < matrix * batch; i += stride) {
    const std::int64_t s = i / matrix, row = i % matrix / c.cols, col = i % c.cols;
    const T* x = a.data + s * a.batch_stride + (transpose_a ? row : row * a.ld);
    const T* y = b.data + s * b.batch_stride + (transpose_b ? col * b.ld : col);
    Out* out = c.data + s * c.batch_stride + row * c.ld + col;
    float sum = accumulate ? static_cast<float>(*out) : 0.0f;
    for (std::int64_t p = 0; p < k; ++p) sum += static_cast<float>(x[p * step_a]) * static_cast<float>(y[p * step_b]);
    *out = static_cast<Out>(sum);
  }
}

/// Where cuBLASLt has no algorithm: bf16 at addresses or in rows that are no multiple of what its kernels load.
template <class T, class Out>
void multiply_plainly(const CudaStream& stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
                      std::int64_t batch, const GemmOptions<float>& options) {
  const std::int64_t wanted = (c.rows * c.cols * batch + kPlainThreads - 1) / kPlainThreads;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(wanted, 1 << 20));
  plain_kernel<<<blocks, kPlainThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      a, b, c, batch, options.transpose_a ? a.rows : a.cols, options.transpose_a, options.transpose_b,
      options.accumulate);
  LACUNA_CUDA_LAUNCHED("gemm");
}

/// op(A) op(B) into C, or added to it; one cuBLASLt call.
template <class T, class Out>
void multiply(const CudaStream& stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
              std::int64_t batch, const GemmOptions<float>& options) {
  CudaLibraries& libraries = *stream.libraries;
  const Layout first(b, batch), second(a, batch), result(c, batch);
  const bool tf32 = stream.allow_tf32 && sizeof(T) == 4;
  const Product product(tf32, options.transpose_b, options.transpose_a);
  const std::uint32_t align_a = alignment_of(a.data), align_b = alignment_of(b.data), align_c = alignment_of(c.data);

  // Leading dimensions and one operand's shape fix the other's.
  const std::int64_t k = options.transpose_a ? a.rows : a.cols;
  const std::int64_t flags = options.transpose_a + 2 * options.transpose_b + 4 * options.accumulate + 8 * tf32 +
                             16 * (sizeof(T) == 2) + 32 * (sizeof(Out) == 2);
  const Key key = {c.rows,         c.cols,         k,     a.ld,
                   b.ld,           c.ld,           batch, a.batch_stride,
                   b.batch_stride, c.batch_stride, flags, align_a + 1024ll * align_b + 1024ll * 1024 * align_c};
  const cublasLtMatmulAlgo_t* algorithm =
      algorithm_for(libraries, key, product, first, second, result, {align_b, align_a, align_c});
  if (!algorithm && tf32) {  // TF32 is leave, not duty: operands may be aligned too badly for it
    CudaStream exact = stream;
    exact.allow_tf32 = false;
    return multiply(exact, a, b, c, batch, options);
  }
  if (!algorithm && sizeof(T) == 2) return multiply_plainly(stream, a, b, c, batch, options);
  check_lt(algorithm ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
  const float one = 1, beta = options.accumulate ? 1 : 0;
  LACUNA_LT_CHECK(cublasLtMatmul(libraries.lt, product.get(), &one, b.data, first.get(), a.data, second.get(), &beta,
                                 c.data, result.get(), c.data, result.get(), algorithm, libraries.workspace,
                                 libraries.workspace_bytes, static_cast<cudaStream_t>(stream.handle)));
}

template <class T>
Dense<T> batch_from(const Dense<T>& matrix, std::int64_t first) {
  Dense<T> moved = matrix;
  moved.data += first * matrix.batch_stride;
  return moved;
}

}  // namespace

template <class T, class Out>
void gemm(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
          const GemmOptions<acc_t<T>>& options) {
  if (c.rows == 0 || c.cols == 0 || c.batch == 0) return;
  const std::int64_t k = options.transpose_a ? a.rows : a.cols;
  for (std::int64_t i = 0; k > 0 && i < c.batch; i += kMostBatches) {
    multiply(stream, batch_from(a, i), batch_from(b, i), batch_from(c, i), std::min(kMostBatches, c.batch - i),
             options);
  }
  const bool has_epilogue = options.epilogue.bias != nullptr || options.epilogue.activation != Activation::none;
  for (std::int64_t i = 0; i < c.batch && (k == 0 || has_epilogue); ++i) {
    const Dense<Out> out{c.data + i * c.batch_stride, c.rows, c.cols, c.ld};
    if (k == 0 && !options.accumulate) {
      const auto row_bytes = static_cast<std::size_t>(c.cols) * sizeof(Out);
      LACUNA_CUDA_CHECK(cudaMemset2DAsync(out.data, static_cast<std::size_t>(c.ld) * sizeof(Out), 0, row_bytes,
                                          static_cast<std::size_t>(c.rows), static_cast<cudaStream_t>(stream.handle)));
    }
    if (has_epilogue) apply_epilogue<Out>(stream, {out.data, out.rows, out.cols, out.ld}, options.epilogue, out);
  }
}

bool gemm_f16(CudaStream stream, const Dense<const Half>& a, const Dense<const Half>& b, const Dense<float>& c,
              const float* scalars) {
  if (c.rows == 0 || c.cols == 0) return true;
  CudaLibraries& libraries = *stream.libraries;
  const Layout first(b, 1), second(a, 1), result(c, 1);
  Product product(false, false, false);
  product.take_device_scalars();
  const std::uint32_t align_a = alignment_of(a.data), align_b = alignment_of(b.data), align_c = alignment_of(c.data);
  const Key key = {c.rows,
                   c.cols,
                   a.cols,
                   a.ld,
                   b.ld,
                   c.ld,
                   1,
                   0,
                   0,
                   0,
                   64,  // a flag that no other product has
                   align_a + 1024ll * align_b + 1024ll * 1024 * align_c};
  const cublasLtMatmulAlgo_t* algorithm =
      algorithm_for(libraries, key, product, first, second, result, {align_b, align_a, align_c});
  if (!algorithm) return false;
  LACUNA_LT_CHECK(cublasLtMatmul(libraries.lt, product.get(), scalars, b.data, first.get(), a.data, second.get(),
                                 scalars + 1, c.data, result.get(), c.data, result.get(), algorithm,
                                 libraries.workspace, libraries.workspace_bytes,
                                 static_cast<cudaStream_t>(stream.handle)));
  return true;
}

#define LACUNA_INSTANTIATE(T, Out)                                                                        \
  template void gemm<T, Out>(CudaStream, const Dense<const T>&, const Dense<const T>&, const Dense<Out>&, \
                             const GemmOptions<float>&);
LACUNA_INSTANTIATE(float, float)
LACUNA_INSTANTIATE(Bf16, Bf16)
LACUNA_INSTANTIATE(Bf16, float)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
