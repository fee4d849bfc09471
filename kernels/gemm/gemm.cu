// cuBLASLt works column by column; a row-major matrix is its transpose there. So C = op(A) op(B) is handed over as
// C^T = op(B)^T op(A)^T: operands swapped, nothing copied. Our bias goes along the rows of C, the columns of C^T, for
// which cuBLASLt has no epilogue (and its relu drops NaN, its gelu is the tanh form): a second kernel applies it.
#include <algorithm>
#include <type_traits>

#include "kernels/gemm/cublaslt.cuh"
#include "kernels/gemm/gemv.h"
#include "kernels/pointwise/pointwise.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kMostBatches = 32768;  // per call, well inside the grid limits of any kernel it may pick

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

/// c[row, col] += bias[col].
template <class T>
__global__ void __launch_bounds__(kPlainThreads) add_column_bias_kernel(Dense<T> c, const T* bias) {
  const std::int64_t count = c.rows * c.cols, stride = std::int64_t{gridDim.x} * kPlainThreads;
  for (std::int64_t i = std::int64_t{blockIdx.x} * kPlainThreads + threadIdx.x; i < count; i += stride) {
    T* const out = c.data + i / c.cols * c.ld + i % c.cols;
    *out = static_cast<T>(static_cast<float>(*out) + static_cast<float>(bias[i % c.cols]));
  }
}

unsigned blocks_for(std::int64_t elements) {
  return static_cast<unsigned>(std::min<std::int64_t>((elements + kPlainThreads - 1) / kPlainThreads, 1 << 20));
}

template <class T>
void add_column_bias(const CudaStream& stream, const Dense<T>& c, const T* bias) {
  add_column_bias_kernel<<<blocks_for(c.rows * c.cols), kPlainThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      c, bias);
  LACUNA_CUDA_LAUNCHED("add_column_bias");
}

/// Where cuBLASLt has no algorithm: bf16 at addresses or in rows that are no multiple of what its kernels load.
template <class T, class Out>
void multiply_plainly(const CudaStream& stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
                      std::int64_t batch, const GemmOptions<float>& options) {
  plain_kernel<<<blocks_for(c.rows * c.cols * batch), kPlainThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      a, b, c, batch, options.transpose_a ? a.rows : a.cols, options.transpose_a, options.transpose_b,
      options.accumulate);
  LACUNA_CUDA_LAUNCHED("gemm");
}

template <class T>
void clear(const Dense<T>& matrix, cudaStream_t stream) {
  const auto row_bytes = static_cast<std::size_t>(matrix.cols) * sizeof(T);
  LACUNA_CUDA_CHECK(cudaMemset2DAsync(matrix.data, static_cast<std::size_t>(matrix.ld) * sizeof(T), 0, row_bytes,
                                      static_cast<std::size_t>(matrix.rows), stream));
}

/// Whether a product does without a workspace: bf16 with tiles enough to go round, so that its inner dimension is not cut.
/// Given one, cuBLASLt keeps a counter there that it clears before each product: two microseconds, and no gain.
template <class T, class Out>
bool needs_no_workspace(const CudaStream& stream, const Dense<Out>& c, std::int64_t batch) {
  constexpr std::int64_t kTile = 128;
  const std::int64_t tiles = (c.rows + kTile - 1) / kTile * ((c.cols + kTile - 1) / kTile) * batch;
  return sizeof(T) == 2 && tiles >= stream.multiprocessors && !stream.libraries->measures_products;
}

/// op(A) op(B) into C, or added to it; one cuBLASLt call. column_bias (null: none): of one matrix, added along C's
/// columns, which are the rows of C^T, so cuBLASLt has an epilogue for it.
template <class T, class Out>
void multiply(const CudaStream& stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<Out>& c,
              std::int64_t batch, const GemmOptions<float>& options, const Out* column_bias, bool with_workspace) {
  CudaLibraries& libraries = *stream.libraries;
  const std::size_t workspace_bytes = with_workspace ? libraries.workspace_bytes : 0;
  const Layout first(b, batch), second(a, batch), result(c, batch);
  const bool tf32 = stream.allow_tf32 && sizeof(T) == 4;
  Product product(tf32, options.transpose_b, options.transpose_a);
  if (column_bias) product.add_bias(column_bias, kTypeOf<Out>);
  const std::uint32_t align_a = alignment_of(a.data), align_b = alignment_of(b.data), align_c = alignment_of(c.data);

  // Leading dimensions and one operand's shape fix the other's.
  const std::int64_t k = options.transpose_a ? a.rows : a.cols;
  const std::int64_t flags = options.transpose_a + 2 * options.transpose_b + 4 * options.accumulate + 8 * tf32 +
                             16 * (sizeof(T) == 2) + 32 * (sizeof(Out) == 2) + 128 * (column_bias != nullptr) +
                             256 * !with_workspace;
  const Key key = {c.rows,         c.cols,         k,     a.ld,
                   b.ld,           c.ld,           batch, a.batch_stride,
                   b.batch_stride, c.batch_stride, flags, align_a + 1024ll * align_b + 1024ll * 1024 * align_c};
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  const float one = 1, beta = options.accumulate ? 1 : 0;
  for (std::int64_t i = 0; i < batch && libraries.clears_results && !options.accumulate; ++i)
    clear(Dense<Out>{c.data + i * c.batch_stride, c.rows, c.cols, c.ld}, handle);
  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    return cublasLtMatmul(libraries.lt, product.get(), &one, b.data, first.get(), a.data, second.get(), &beta, c.data,
                          result.get(), c.data, result.get(), &algorithm, libraries.workspace, workspace_bytes, handle);
  };
  // C is overwritten again and again while answers are measured, so a sum cannot be.
  const cublasLtMatmulAlgo_t* algorithm =
      algorithm_for(libraries, handle, key,
                    {sizeof(Out) == 2, product, first, second, result, {align_b, align_a, align_c}, workspace_bytes},
                    !options.accumulate, run);
  if (!algorithm && !with_workspace) return multiply(stream, a, b, c, batch, options, column_bias, true);
  if (!algorithm && tf32) {  // TF32 is leave, not duty: operands may be aligned too badly for it
    CudaStream exact = stream;
    exact.allow_tf32 = false;
    return multiply(exact, a, b, c, batch, options, column_bias, with_workspace);
  }
  if (!algorithm && column_bias) {
    multiply<T, Out>(stream, a, b, c, batch, options, nullptr, with_workspace);
    return add_column_bias(stream, c, column_bias);
  }
  if (!algorithm && sizeof(T) == 2) return multiply_plainly(stream, a, b, c, batch, options);
  check_lt(algorithm ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
  LACUNA_LT_CHECK(run(*algorithm));
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
  if (c.cols == 1 && c.batch == 1 && !options.transpose_a && !options.transpose_b && !options.accumulate)
    return gemv<T, Out>(stream, a, b, c, options.epilogue);
  const std::int64_t k = options.transpose_a ? a.rows : a.cols;
  for (std::int64_t i = 0; k > 0 && i < c.batch; i += kMostBatches) {
    const std::int64_t batch = std::min(kMostBatches, c.batch - i);
    multiply<T, Out>(stream, batch_from(a, i), batch_from(b, i), batch_from(c, i), batch, options, nullptr,
                     !needs_no_workspace<T>(stream, c, batch));
  }
  const bool has_epilogue = options.epilogue.bias != nullptr || options.epilogue.activation != Activation::none;
  for (std::int64_t i = 0; i < c.batch && (k == 0 || has_epilogue); ++i) {
    const Dense<Out> out{c.data + i * c.batch_stride, c.rows, c.cols, c.ld};
    if (k == 0 && !options.accumulate) clear(out, static_cast<cudaStream_t>(stream.handle));
    if (has_epilogue) apply_epilogue<Out>(stream, {out.data, out.rows, out.cols, out.ld}, options.epilogue, out);
  }
}

template <class T>
void gemm_column_bias(CudaStream stream, const Dense<const T>& a, const Dense<const T>& b, const Dense<T>& c,
                      bool transpose_a, bool transpose_b, const T* bias) {
  GemmOptions<float> options;
  options.transpose_a = transpose_a, options.transpose_b = transpose_b;
  const std::int64_t k = transpose_a ? a.rows : a.cols;
  if (c.rows == 0 || c.cols == 0) return;
  if (bias != nullptr && k > 0 && alignment_of(bias) >= 16)
    return multiply(stream, a, b, c, 1, options, bias, !needs_no_workspace<T>(stream, c, 1));
  gemm<T, T>(stream, a, b, c, options);
  if (bias != nullptr) add_column_bias(stream, c, bias);
}

template void gemm_column_bias<float>(CudaStream, const Dense<const float>&, const Dense<const float>&,
                                      const Dense<float>&, bool, bool, const float*);
template void gemm_column_bias<Bf16>(CudaStream, const Dense<const Bf16>&, const Dense<const Bf16>&, const Dense<Bf16>&,
                                     bool, bool, const Bf16*);

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
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  const auto run = [&](const cublasLtMatmulAlgo_t& algorithm) {
    return cublasLtMatmul(libraries.lt, product.get(), scalars, b.data, first.get(), a.data, second.get(), scalars + 1,
                          c.data, result.get(), c.data, result.get(), &algorithm, libraries.workspace,
                          libraries.workspace_bytes, handle);
  };
  if (libraries.clears_results) clear(c, handle);
  const cublasLtMatmulAlgo_t* algorithm = algorithm_for(
      libraries, handle, key,
      {false, product, first, second, result, {align_b, align_a, align_c}, libraries.workspace_bytes}, true, run);
  if (!algorithm) return false;
  LACUNA_LT_CHECK(run(*algorithm));
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
