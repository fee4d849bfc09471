// cuBLASLt in bf16 with f32 accumulation: the dense baseline of bf16 problems. (f32 and TF32 run through kernels/gemm.)
#include <cublasLt.h>
#include <fmt/format.h>

#include <memory>

#include "app/bench/contender.h"
#include "core/errors.h"
#include "core/ops/densify.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"

namespace lacuna::bench {

namespace {

void check(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw BackendError("cublaslt", fmt::format("{}: {}", call, cublasLtGetStatusString(status)));
}
#define LACUNA_LT_CHECK(call) check((call), #call)

/// op(A) op(B) of row-major matrices, handed over as op(B)^T op(A)^T of column-major ones; the heuristic's first answer.
class Product {
 public:
  Product(const Problem& p, const Tensor& a, const Tensor& b, const Tensor& c, bool transpose_a, bool transpose_b)
      : stream_(cuda_stream(p.device)) {
    LACUNA_LT_CHECK(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, transpose_b);
    set(CUBLASLT_MATMUL_DESC_TRANSB, transpose_a);
    first_ = layout(b, p.batch);
    second_ = layout(a, p.batch);
    result_ = layout(c, p.batch);
    cublasLtMatmulPreference_t preference = nullptr;
    LACUNA_LT_CHECK(cublasLtMatmulPreferenceCreate(&preference));
    const std::size_t workspace = stream_.libraries->workspace_bytes;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                         sizeof(workspace));
    int answers = 0;
    const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(stream_.libraries->lt, description_, first_, second_,
                                                                 result_, result_, preference, 1, &answer_, &answers);
    cublasLtMatmulPreferenceDestroy(preference);
    check(answers > 0 ? status : CUBLAS_STATUS_NOT_SUPPORTED, "cublasLtMatmulAlgoGetHeuristic");
  }
  ~Product() {
    for (const cublasLtMatrixLayout_t l : {first_, second_, result_}) cublasLtMatrixLayoutDestroy(l);
    cublasLtMatmulDescDestroy(description_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  void run(const Tensor& a, const Tensor& b, const Tensor& c) const {
    const float one = 1, zero = 0;
    LACUNA_LT_CHECK(cublasLtMatmul(stream_.libraries->lt, description_, &one, b.raw(), first_, a.raw(), second_, &zero,
                                   c.raw(), result_, c.raw(), result_, &answer_.algo, stream_.libraries->workspace,
                                   stream_.libraries->workspace_bytes, static_cast<cudaStream_t>(stream_.handle)));
  }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LACUNA_LT_CHECK(cublasLtMatmulDescSetAttribute(description_, attribute, &operation, sizeof(operation)));
  }
  static cublasLtMatrixLayout_t layout(const Tensor& x, std::int64_t batch) {
    cublasLtMatrixLayout_t made = nullptr;
    const std::int64_t rows = x.dim(-2), cols = x.dim(-1), stride = rows * cols;
    LACUNA_LT_CHECK(cublasLtMatrixLayoutCreate(&made, CUDA_R_16BF, static_cast<std::uint64_t>(cols),
                                               static_cast<std::uint64_t>(rows), cols));
    if (batch > 1) {
      const auto count = static_cast<std::int32_t>(batch);
      LACUNA_LT_CHECK(
          cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count)));
      LACUNA_LT_CHECK(
          cublasLtMatrixLayoutSetAttribute(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof(stride)));
    }
    return made;
  }

  CudaStream stream_;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatrixLayout_t first_ = nullptr, second_ = nullptr, result_ = nullptr;
  cublasLtMatmulHeuristicResult_t answer_ = {};
};

Prepared prepare_product(const Problem& p) {
  const std::vector<Tensor> a = densified(p);
  const auto product =
      std::make_shared<Product>(p, a[0], p.operand(1, 0), p.result(0), p.op == Op::spmm_transposed, false);
  return {.run =
              [&p, a, product](int call) {
                const Tensor c = p.result(call);
                product->run(a[static_cast<std::size_t>(call) % a.size()], p.operand(1, call), c);
                return c;
              },
          .checked_call = 0};
}

/// The pattern's entries of a dense bf16 product, on the host: [b, nnz].
Tensor sample_on_host(const Problem& p, const Tensor& product) {
  const Tensor dense = product.to(kCpu), values = Tensor::empty(p.result_shape(), DType::bf16);
  const auto* from = static_cast<const std::uint16_t*>(dense.raw());
  auto* to = static_cast<std::uint16_t*>(values.raw());
  const std::int32_t *offsets = p.pattern->row_offsets().data<std::int32_t>(),
                     *columns = p.pattern->col_indices().data<std::int32_t>();
  for (std::int64_t row = 0; row < p.batch * p.m; ++row) {
    const std::int64_t i = row % p.m;
    for (std::int32_t e = offsets[i]; e < offsets[i + 1]; ++e) to[row / p.m * p.nnz + e] = from[row * p.k + columns[e]];
  }
  return values;
}

Prepared prepare_gradient(const Problem& p) {
  const std::vector<Tensor> c = dense_buffers(p);
  const auto product = std::make_shared<Product>(p, p.operand(0, 0), p.operand(1, 0), c[0], false, true);
  return {.run =
              [&p, c, product](int call) {
                const Tensor& to = c[static_cast<std::size_t>(call) % c.size()];
                product->run(p.operand(0, call), p.operand(1, call), to);
                return to;
              },
          .extract = [&p](const Tensor& dense, int) { return sample_on_host(p, dense); }};
}

}  // namespace

void add_cublaslt_bf16(std::vector<Contender>& list) {
  const auto is_bf16 = [](const Problem& p) { return p.device.is_cuda() && p.precision == Precision::bf16; };
  list.push_back(
      {"cublaslt", Kind::dense,
       [is_bf16](const Problem& p) { return is_bf16(p) && (p.op == Op::spmm || p.op == Op::spmm_transposed); },
       prepare_product});
  list.push_back({"cublaslt", Kind::dense, [is_bf16](const Problem& p) { return is_bf16(p) && p.op == Op::sddmm; },
                  prepare_gradient});
}

}  // namespace lacuna::bench
