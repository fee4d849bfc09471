#include "app/bench/problem.h"

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/random.h"
#include "kernels/runtime/bf16.h"

namespace lacuna::bench {

namespace {

constexpr std::int64_t kAlign = 128;       // elements: windows begin at 256 bytes or more, as whole tensors do
constexpr int kLongestRotation = 400;      // calls; more would only make graphs slow to build
constexpr std::size_t kMostPatterns = 16;  // copies of the index arrays; each has its own derived data

std::int64_t aligned(std::int64_t elements) {
  return (std::max<std::int64_t>(elements, 1) + kAlign - 1) / kAlign * kAlign;
}

}  // namespace

const char* to_string(Op op) {
  switch (op) {
    case Op::spmm:
      return "spmm";
    case Op::spmm_transposed:
      return "spmm_transposed";
    case Op::sddmm:
      return "sddmm";
    case Op::sparse_softmax:
      return "sparse_softmax";
    case Op::sparse_softmax_backward:
      return "sparse_softmax_backward";
    case Op::attention:
      return "attention";
    case Op::attention_training:
      return "attention_training";
  }
  return "?";
}

const char* to_string(Precision precision) {
  return precision == Precision::f32 ? "f32" : precision == Precision::tf32 ? "tf32" : "bf16";
}

Pool::Pool(Device device, std::uint64_t seed, std::size_t cache_bytes)
    : device_(device), seed_(seed), cache_bytes_(cache_bytes) {}

void Pool::require(std::int64_t role_elements, std::int64_t result_elements, Precision precision) {
  const bool bf16 = precision == Precision::bf16;
  if (role_elements > role_elements_) {
    role_elements_ = aligned(role_elements);
    operands_ = operands_bf16_ = {};  // freed before the larger one is made
    const std::size_t before = host_.size();
    host_.resize(static_cast<std::size_t>(kRoles * role_elements_));
    host_bf16_.clear();
    const auto first = static_cast<std::int64_t>(before / 4), last = static_cast<std::int64_t>(host_.size() / 4);
#pragma omp parallel for
    for (std::int64_t block = first; block < last; ++block) {
      const Philox4 words = random_block({seed_, 0}, static_cast<std::uint64_t>(block));
      for (int j = 0; j < 4; ++j)
        host_[static_cast<std::size_t>(4 * block + j)] = 2 * uniform_from_word(words.v[j]) - 1;
    }
  }
  if (!bf16 && !operands_.defined()) {
    operands_ = Tensor::empty({static_cast<std::int64_t>(host_.size())}, DType::f32, device_);
    operands_.copy_from(Tensor::from(host_, operands_.shape()));
  }
  if (bf16 && !operands_bf16_.defined()) {
    const Tensor rounded = Tensor::empty({static_cast<std::int64_t>(host_.size())}, DType::bf16);
    auto* out = static_cast<Bf16*>(rounded.raw());
    host_bf16_.resize(host_.size());
#pragma omp parallel for
    for (std::size_t i = 0; i < host_.size(); ++i) {
      out[i] = to_bf16(host_[i]);
      host_bf16_[i] = to_float(out[i]);
    }
    operands_bf16_ = rounded.to(device_);
  }
  if (result_elements > result_elements_) {
    result_elements_ = aligned(result_elements);
    results_ = results_bf16_ = {};
  }
  Tensor& results = bf16 ? results_bf16_ : results_;
  if (!results.defined()) results = Tensor::empty({result_elements_}, bf16 ? DType::bf16 : DType::f32, device_);
}

std::int64_t Pool::offset(int role, int call, std::int64_t elements) const {
  const std::int64_t windows = std::max<std::int64_t>(1, role_elements_ / aligned(elements));
  return role * role_elements_ + call % windows * aligned(elements);
}

Tensor Pool::operand(Precision precision, int role, int call, const Shape& shape) const {
  const std::int64_t begin = offset(role, call, shape.numel());
  return (precision == Precision::bf16 ? operands_bf16_ : operands_).slice(begin, begin + shape.numel()).reshape(shape);
}

const float* Pool::host_operand(Precision precision, int role, int call, std::int64_t elements) const {
  return (precision == Precision::bf16 ? host_bf16_ : host_).data() + offset(role, call, elements);
}

Tensor Pool::result(Precision precision, int call, const Shape& shape) const {
  const std::int64_t windows = std::max<std::int64_t>(1, result_elements_ / aligned(shape.numel()));
  const std::int64_t begin = call % windows * aligned(shape.numel());
  return (precision == Precision::bf16 ? results_bf16_ : results_).slice(begin, begin + shape.numel()).reshape(shape);
}

double Problem::sparsity() const {
  const double total = static_cast<double>(m) * static_cast<double>(k);
  return total == 0 ? 0 : 1 - static_cast<double>(nnz) / total;
}

int Problem::num_operands() const {
  if (is_attention(op)) return op == Op::attention ? 3 : 4;
  return op == Op::sparse_softmax ? 1 : 2;
}

Shape Problem::operand_shape(int role) const {
  const auto dense = [&](std::int64_t rows) {
    return batch == 1 && !is_attention(op) ? Shape{rows, n} : Shape{batch, rows, n};
  };
  switch (op) {
    case Op::spmm:
      if (role == 1) return dense(k);
      break;
    case Op::spmm_transposed:
      if (role == 1) return dense(m);
      break;
    case Op::sddmm:
      return dense(role == 0 ? m : k);
    case Op::attention:
    case Op::attention_training:
      return dense(m);
    default:
      break;
  }
  return batch == 1 ? Shape{nnz} : Shape{batch, nnz};
}

Shape Problem::result_shape() const {
  const auto dense = [&](std::int64_t rows) {
    return batch == 1 && !is_attention(op) ? Shape{rows, n} : Shape{batch, rows, n};
  };
  if (op == Op::spmm || op == Op::attention) return dense(m);
  if (op == Op::attention_training) return {3, batch, m, n};
  if (op == Op::spmm_transposed) return dense(k);
  return batch == 1 ? Shape{nnz} : Shape{batch, nnz};
}

const float* Problem::host_operand(int role, int call) const {
  return pool->host_operand(precision, role, call, operand_shape(role).numel());
}

double Problem::flops() const {
  const double entries = static_cast<double>(nnz) * static_cast<double>(batch), width = static_cast<double>(n);
  // Attention: two products forward; backward recomputes nothing and has four (dv, dp, dq, dk).
  if (is_attention(op)) return (op == Op::attention ? 4 : 12) * entries * width;
  return is_product(op) ? 2 * entries * width : 0;
}

double Problem::dense_flops() const {
  const double places = static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(batch);
  if (is_attention(op)) return (op == Op::attention ? 4 : 12) * places * static_cast<double>(n);
  return is_product(op) ? 2 * places * static_cast<double>(n) : 0;
}

double Problem::gathered_bytes() const { return flops() / 2 * static_cast<double>(size_of(dtype_of(precision))); }

double Problem::least_bytes() const {
  double elements = static_cast<double>(result_shape().numel());
  for (int role = 0; role < num_operands(); ++role) elements += static_cast<double>(operand_shape(role).numel());
  double indices = static_cast<double>(m + 1);  // softmax reads row offsets alone
  if (is_product(op)) indices += static_cast<double>(nnz);
  return elements * static_cast<double>(size_of(dtype_of(precision))) + 4 * indices;
}

Problem make_problem(Op op, Precision precision, const TopologyPtr& pattern, std::int64_t n, std::int64_t batch,
                     Pool& pool) {
  if (is_attention(op) && pattern->rows() != pattern->cols()) {
    throw ValueError("bench", "attention needs a square pattern");
  }
  Problem p;
  p.op = op;
  p.precision = precision;
  p.device = pool.device();
  p.pattern = pattern;
  p.m = pattern->rows();
  p.k = pattern->cols();
  p.n = n;
  p.batch = batch;
  p.nnz = pattern->nnz();
  // Attention: scores of uniform operands have deviation 1/3 after 1 / sqrt(n); times 4 makes rows that are neither flat nor one-hot.
  p.scale = is_attention(op) ? 4 / std::sqrt(static_cast<double>(std::max<std::int64_t>(n, 1))) : 1;
  p.pool = &pool;

  const double cache = 2 * static_cast<double>(pool.cache_bytes());
  p.rotation =
      static_cast<int>(std::clamp(std::ceil(cache / std::max(p.least_bytes(), 1.0)), 1.0, double{kLongestRotation}));
  std::int64_t largest = 0;
  for (int role = 0; role < p.num_operands(); ++role) largest = std::max(largest, p.operand_shape(role).numel());
  const auto room = [&](std::int64_t elements) {  // for the whole rotation, but no more than the cache twice
    const double wanted = static_cast<double>(aligned(elements)) * p.rotation;
    return std::max(aligned(elements), static_cast<std::int64_t>(std::min(wanted, cache / 4)));
  };
  pool.require(room(largest), room(p.result_shape().numel()), precision);

  const std::size_t copies = std::min<std::size_t>(static_cast<std::size_t>(p.rotation), kMostPatterns);
  for (std::size_t i = 0; i < copies; ++i) {
    p.patterns.push_back(i == 0 && p.device.is_cpu()
                             ? pattern
                             : std::make_shared<const Topology>(p.m, p.k, pattern->row_offsets().to(p.device).clone(),
                                                                pattern->col_indices().to(p.device).clone()));
  }
  return p;
}

}  // namespace lacuna::bench
