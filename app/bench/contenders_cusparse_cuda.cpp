// cuSPARSE: SpMM over CSR with each of its algorithms and with preprocessing, and SDDMM. Linked by this program alone, never by
// the library's kernels. Dense operands are row-major, as ours; accumulation is f32.
#include "app/bench/contender.h"

#if !LACUNA_HAS_CUSPARSE

namespace lacuna::bench {
void add_cusparse(std::vector<Contender>&) {}
}  // namespace lacuna::bench

#else

#include <cusparse.h>
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "core/errors.h"
#include "core/ops/sparse_transpose.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::bench {

namespace {

void check(cusparseStatus_t status, const char* call) {
  if (status != CUSPARSE_STATUS_SUCCESS) {
    throw BackendError("cusparse", fmt::format("{}: {}", call, cusparseGetErrorString(status)));
  }
}
#define LACUNA_CUSPARSE_CHECK(call) check((call), #call)

struct Handle {
  cusparseHandle_t handle = nullptr;
  explicit Handle(Device device) {
    LACUNA_CUSPARSE_CHECK(cusparseCreate(&handle));
    LACUNA_CUSPARSE_CHECK(cusparseSetStream(handle, static_cast<cudaStream_t>(cuda_stream(device).handle)));
  }
  ~Handle() { cusparseDestroy(handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
};

cudaDataType type_of(const Problem& p) { return p.precision == Precision::bf16 ? CUDA_R_16BF : CUDA_R_32F; }

/// A row-major matrix, or a batch; its address is set in each call.
struct DenseMatrix {
  cusparseDnMatDescr_t get = nullptr;
  DenseMatrix(std::int64_t rows, std::int64_t cols, const Problem& p, void* data) {
    LACUNA_CUSPARSE_CHECK(cusparseCreateDnMat(&get, rows, cols, cols, data, type_of(p), CUSPARSE_ORDER_ROW));
    if (p.batch > 1) LACUNA_CUSPARSE_CHECK(cusparseDnMatSetStridedBatch(get, static_cast<int>(p.batch), rows * cols));
  }
  ~DenseMatrix() { cusparseDestroyDnMat(get); }
  DenseMatrix(const DenseMatrix&) = delete;
  DenseMatrix& operator=(const DenseMatrix&) = delete;
};

/// A CSR pattern with its own buffer: what preprocessing finds is kept in the pair.
struct SparseMatrix {
  TopologyPtr topology;
  Tensor columns;  // [batch * nnz]: cuSPARSE has one stride for columns and values of a batch, so columns are repeated
  Tensor buffer;
  cusparseSpMatDescr_t get = nullptr;
  SparseMatrix(const TopologyPtr& t, const Problem& p, void* values) : topology(t), columns(t->col_indices()) {
    if (p.batch > 1) {
      columns = Tensor::empty({p.batch, p.nnz}, DType::i32, p.device);
      for (std::int64_t b = 0; b < p.batch; ++b)
        columns.slice(b, b + 1).copy_from(t->col_indices().reshape({1, p.nnz}));
    }
    LACUNA_CUSPARSE_CHECK(cusparseCreateCsr(&get, t->rows(), t->cols(), t->nnz(), t->row_offsets().raw(), columns.raw(),
                                            values, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO,
                                            type_of(p)));
    if (p.batch > 1) LACUNA_CUSPARSE_CHECK(cusparseCsrSetStridedBatch(get, static_cast<int>(p.batch), 0, p.nnz));
  }
  ~SparseMatrix() { cusparseDestroySpMat(get); }
  SparseMatrix(const SparseMatrix&) = delete;
  SparseMatrix& operator=(const SparseMatrix&) = delete;
};

Tensor buffer_of(std::size_t bytes, Device device) {
  return Tensor::empty({static_cast<std::int64_t>(std::max<std::size_t>(bytes, 16))}, DType::u8, device);
}

constexpr float kOne = 1, kZero = 0;

/// How A^T is had: by cuSPARSE's own transposed operation, or from the cached transposed pattern with values gathered in each
/// call, as this library does it.
enum class Transposed { no, operation, cached };

/// Made at the first use and shared by all problems: creating one takes milliseconds.
struct LazyHandle {
  std::unique_ptr<Handle> made;
  cusparseHandle_t get(Device device) {
    if (!made) made = std::make_unique<Handle>(device);
    return made->handle;
  }
};
using SharedHandle = std::shared_ptr<LazyHandle>;

struct State {
  State(const SharedHandle& lazy, Device device) : owner(lazy), handle(lazy->get(device)) {}
  SharedHandle owner;
  cusparseHandle_t handle;
  std::vector<std::unique_ptr<SparseMatrix>> sparse;
  std::unique_ptr<DenseMatrix> first, second;
};

Prepared prepare_spmm(const SharedHandle& handle, const Problem& p, cusparseSpMMAlg_t algorithm,
                      Transposed transposed) {
  auto state = std::make_shared<State>(handle, p.device);
  const cusparseOperation_t op =
      transposed == Transposed::operation ? CUSPARSE_OPERATION_TRANSPOSE : CUSPARSE_OPERATION_NON_TRANSPOSE;
  const Tensor values = p.operand(0, 0), b = p.operand(1, 0), c = p.result(0);
  state->first = std::make_unique<DenseMatrix>(b.dim(-2), b.dim(-1), p, b.raw());
  state->second = std::make_unique<DenseMatrix>(c.dim(-2), c.dim(-1), p, c.raw());
  for (const TopologyPtr& t : p.patterns) {
    const TopologyPtr stored = transposed == Transposed::cached ? t->transposed().topology : t;
    auto a = std::make_unique<SparseMatrix>(stored, p, values.raw());
    std::size_t bytes = 0;
    LACUNA_CUSPARSE_CHECK(cusparseSpMM_bufferSize(state->handle, op, CUSPARSE_OPERATION_NON_TRANSPOSE, &kOne, a->get,
                                                  state->first->get, &kZero, state->second->get, CUDA_R_32F, algorithm,
                                                  &bytes));
    a->buffer = buffer_of(bytes, p.device);
    LACUNA_CUSPARSE_CHECK(cusparseSpMM_preprocess(state->handle, op, CUSPARSE_OPERATION_NON_TRANSPOSE, &kOne, a->get,
                                                  state->first->get, &kZero, state->second->get, CUDA_R_32F, algorithm,
                                                  a->buffer.raw()));
    state->sparse.push_back(std::move(a));
  }
  return {[&p, state, op, algorithm, transposed](int call) {
    const SparseMatrix& a = *state->sparse[static_cast<std::size_t>(call) % state->sparse.size()];
    Tensor v = p.operand(0, call);
    if (transposed == Transposed::cached) v = transpose(SparseTensor{v, p.topology(call)}).values;
    const Tensor b_now = p.operand(1, call), c_now = p.result(call);
    LACUNA_CUSPARSE_CHECK(cusparseSpMatSetValues(a.get, v.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseDnMatSetValues(state->first->get, b_now.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseDnMatSetValues(state->second->get, c_now.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseSpMM(state->handle, op, CUSPARSE_OPERATION_NON_TRANSPOSE, &kOne, a.get,
                                       state->first->get, &kZero, state->second->get, CUDA_R_32F, algorithm,
                                       a.buffer.raw()));
    return c_now;
  }};
}

Prepared prepare_sddmm(const SharedHandle& handle, const Problem& p) {
  auto state = std::make_shared<State>(handle, p.device);
  const Tensor a = p.operand(0, 0), b = p.operand(1, 0), values = p.result(0);
  state->first = std::make_unique<DenseMatrix>(a.dim(-2), a.dim(-1), p, a.raw());
  state->second = std::make_unique<DenseMatrix>(b.dim(-2), b.dim(-1), p, b.raw());
  constexpr auto kPlain = CUSPARSE_OPERATION_NON_TRANSPOSE, kTurned = CUSPARSE_OPERATION_TRANSPOSE;
  for (const TopologyPtr& t : p.patterns) {
    auto c = std::make_unique<SparseMatrix>(t, p, values.raw());
    std::size_t bytes = 0;
    LACUNA_CUSPARSE_CHECK(cusparseSDDMM_bufferSize(state->handle, kPlain, kTurned, &kOne, state->first->get,
                                                   state->second->get, &kZero, c->get, CUDA_R_32F,
                                                   CUSPARSE_SDDMM_ALG_DEFAULT, &bytes));
    c->buffer = buffer_of(bytes, p.device);
    LACUNA_CUSPARSE_CHECK(cusparseSDDMM_preprocess(state->handle, kPlain, kTurned, &kOne, state->first->get,
                                                   state->second->get, &kZero, c->get, CUDA_R_32F,
                                                   CUSPARSE_SDDMM_ALG_DEFAULT, c->buffer.raw()));
    state->sparse.push_back(std::move(c));
  }
  return {[&p, state](int call) {
    const SparseMatrix& c = *state->sparse[static_cast<std::size_t>(call) % state->sparse.size()];
    const Tensor a_now = p.operand(0, call), b_now = p.operand(1, call), values_now = p.result(call);
    LACUNA_CUSPARSE_CHECK(cusparseSpMatSetValues(c.get, values_now.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseDnMatSetValues(state->first->get, a_now.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseDnMatSetValues(state->second->get, b_now.raw()));
    LACUNA_CUSPARSE_CHECK(cusparseSDDMM(state->handle, CUSPARSE_OPERATION_NON_TRANSPOSE, CUSPARSE_OPERATION_TRANSPOSE,
                                        &kOne, state->first->get, state->second->get, &kZero, c.get, CUDA_R_32F,
                                        CUSPARSE_SDDMM_ALG_DEFAULT, c.buffer.raw()));
    return values_now;
  }};
}

}  // namespace

void add_cusparse(std::vector<Contender>& list) {
  const auto handle = std::make_shared<LazyHandle>();
  const auto on = [](Op op, bool with_bf16) {
    return [op, with_bf16](const Problem& p) {  // TF32 is not among its modes
      return p.device.is_cuda() && p.op == op &&
             (p.precision == Precision::f32 || (with_bf16 && p.precision == Precision::bf16));
    };
  };
  constexpr std::pair<const char*, cusparseSpMMAlg_t> kAlgorithms[] = {{"cusparse_alg1", CUSPARSE_SPMM_CSR_ALG1},
                                                                       {"cusparse_alg2", CUSPARSE_SPMM_CSR_ALG2},
                                                                       {"cusparse_alg3", CUSPARSE_SPMM_CSR_ALG3}};
  for (const auto& [name, algorithm] : kAlgorithms) {
    list.push_back({name, Kind::sparse, on(Op::spmm, true), [handle, algorithm = algorithm](const Problem& p) {
                      return prepare_spmm(handle, p, algorithm, Transposed::no);
                    }});
    list.push_back(
        {name, Kind::sparse, on(Op::spmm_transposed, false), [handle, algorithm = algorithm](const Problem& p) {
           return prepare_spmm(handle, p, algorithm, Transposed::cached);
         }});
  }
  list.push_back({"cusparse_transpose", Kind::sparse, on(Op::spmm_transposed, true), [handle](const Problem& p) {
                    return prepare_spmm(handle, p, CUSPARSE_SPMM_CSR_ALG2, Transposed::operation);
                  }});
  list.push_back({"cusparse_sddmm", Kind::sparse, on(Op::sddmm, true),
                  [handle](const Problem& p) { return prepare_sddmm(handle, p); }});
}

}  // namespace lacuna::bench

#endif
