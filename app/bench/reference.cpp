#include "app/bench/reference.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/random.h"
#include "kernels/runtime/bf16.h"

namespace lacuna::bench {

namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();
constexpr std::size_t kMostSampledRows = 2048;

double number_at(const Tensor& host, std::int64_t i) {
  if (host.dtype() == DType::bf16) return to_float(static_cast<const Bf16*>(host.raw())[i]);
  return static_cast<const float*>(host.raw())[i];
}

}  // namespace

double error_bound(Op op, Precision precision) {
  if (op == Op::attention_training)
    return precision == Precision::f32 ? 8e-6 : precision == Precision::tf32 ? 2e-2 : 8e-2;
  if (op == Op::attention) return precision == Precision::f32 ? 4e-6 : precision == Precision::tf32 ? 1e-2 : 4e-2;
  if (!is_product(op)) return precision == Precision::bf16 ? 8e-3 : 4e-6;
  return precision == Precision::f32 ? 5e-7 : precision == Precision::tf32 ? 2e-3 : 4e-3;
}

Reference::Reference(const Problem& problem, double full_work, double sample_work) : problem_(problem) {
  if (problem.op == Op::spmm_transposed || problem.op == Op::attention_training) columns_.emplace(*problem.pattern);
  if (problem.op == Op::attention_training)
    choose_gradient_rows(full_work);
  else
    choose_rows(full_work, sample_work);
}

void Reference::choose_gradient_rows(double full_work) {
  const Problem& p = problem_;
  total_rows_ = 3 * p.batch * p.m;
  const auto add = [&](std::int64_t part, std::int64_t batch, std::int64_t i) {
    starts_.push_back(static_cast<std::int64_t>(rows_.size()) * p.n);
    rows_.push_back({part, batch, i, ((part * p.batch + batch) * p.m + i) * p.n, p.n});
  };
  const bool whole = 5.0 * static_cast<double>(p.nnz * p.batch * p.n) <= full_work;
  const std::int64_t last = p.m - 1;
  for (std::int64_t part = 0; part < 3; ++part) {
    for (std::int64_t b = 0; b < p.batch; ++b) {
      if (whole) {
        for (std::int64_t i = 0; i < p.m; ++i) add(part, b, i);
      } else if (part == 0) {  // queries are cheap, keys need the whole row of each query that names them
        for (const std::int64_t i : {std::int64_t{0}, last / 3, last / 2, last}) add(part, b, i);
      } else if (b == 0 || b == p.batch - 1) {
        for (const std::int64_t j : {last / 2, last}) add(part, b, j);
      }
    }
  }
}

void Reference::choose_rows(double full_work, double sample_work) {
  const Problem& p = problem_;
  const bool by_columns = p.op == Op::spmm_transposed;
  const std::int64_t rows = by_columns ? p.k : p.m;
  const std::int32_t* offsets = by_columns ? columns_->offsets.data() : p.pattern->row_offsets().data<std::int32_t>();
  const bool dense_result = p.op == Op::spmm || by_columns || p.op == Op::attention;
  const double width = is_product(p.op) ? static_cast<double>(p.n) * (p.op == Op::attention ? 2 : 1) : 4;
  const auto work = [&](std::int64_t i) {
    return (offsets[i + 1] - offsets[i]) * width + static_cast<double>(dense_result ? p.n : 1);
  };
  const auto add = [&](std::int64_t batch, std::int64_t i) {
    Row row{0, batch, i};
    if (dense_result) {
      row.offset = (batch * rows + i) * p.n;
      row.length = p.n;
    } else {
      row.offset = batch * p.nnz + offsets[i];
      row.length = offsets[i + 1] - offsets[i];
    }
    starts_.push_back(starts_.empty() ? 0 : starts_.back() + rows_.back().length);
    rows_.push_back(row);
  };
  total_rows_ = rows * p.batch;
  double total = 0;
  for (std::int64_t i = 0; i < rows; ++i) total += work(i);
  if (total * static_cast<double>(p.batch) <= full_work) {
    for (std::int64_t i = 0; i < total_rows_; ++i) add(i / rows, i % rows);
    return;
  }
  std::set<std::int64_t> chosen{0, total_rows_ - 1};
  std::int64_t longest = 0, shortest = 0;
  for (std::int64_t i = 1; i < rows; ++i) {
    if (work(i) > work(longest)) longest = i;
    if (work(i) < work(shortest)) shortest = i;
  }
  chosen.insert({longest, shortest, (p.batch - 1) * rows + longest});
  double taken = 0;
  for (const std::int64_t i : chosen) taken += work(i % rows);
  for (std::uint64_t draw = 0; taken < sample_work && chosen.size() < kMostSampledRows && draw < 2 * kMostSampledRows;
       ++draw) {
    const Philox4 words = random_block({0x5a3c, 0}, draw);
    const auto i = static_cast<std::int64_t>((std::uint64_t{words.v[0]} << 31 | words.v[1] >> 1) %
                                             static_cast<std::uint64_t>(total_rows_));
    if (chosen.insert(i).second) taken += work(i % rows);
  }
  for (const std::int64_t i : chosen) add(i / rows, i % rows);
}

void Reference::compute(const Row& row, int call, double* value, double* magnitude) const {
  const Problem& p = problem_;
  const std::int32_t *offsets = p.pattern->row_offsets().data<std::int32_t>(),
                     *columns = p.pattern->col_indices().data<std::int32_t>();
  const float* first = p.host_operand(0, call);
  const float* second = p.num_operands() > 1 ? p.host_operand(1, call) : nullptr;
  std::fill(value, value + row.length, 0.0);
  std::fill(magnitude, magnitude + row.length, 0.0);
  const auto add_scaled = [&](double factor, const float* b) {  // value += factor * b
#pragma omp simd
    for (std::int64_t j = 0; j < p.n; ++j) {
      const double term = factor * b[j];
      value[j] += term;
      magnitude[j] += std::abs(term);
    }
  };
  const auto dot = [&](const float* a, const float* b, double& size) {
    double sum = 0;
    double total = 0;
#pragma omp simd reduction(+ : sum, total)
    for (std::int64_t j = 0; j < p.n; ++j) {
      const double term = static_cast<double>(a[j]) * b[j];
      sum += term;
      total += std::abs(term);
    }
    size = total;
    return sum;
  };
  if (p.op == Op::spmm_transposed) {
    const auto j = static_cast<std::size_t>(row.row);
    for (auto e = static_cast<std::size_t>(columns_->offsets[j]);
         e < static_cast<std::size_t>(columns_->offsets[j + 1]); ++e)
      add_scaled(first[row.batch * p.nnz + columns_->entries[e]], second + (row.batch * p.m + columns_->rows[e]) * p.n);
    return;
  }
  const std::int32_t begin = offsets[row.row], end = offsets[row.row + 1];
  const float* values = first + row.batch * p.nnz;  // where operand 0 is [b, nnz]
  switch (p.op) {
    case Op::spmm:
      for (std::int32_t e = begin; e < end; ++e) add_scaled(values[e], second + (row.batch * p.k + columns[e]) * p.n);
      break;
    case Op::sddmm:
      for (std::int32_t e = begin; e < end; ++e)
        value[e - begin] = dot(first + (row.batch * p.m + row.row) * p.n, second + (row.batch * p.k + columns[e]) * p.n,
                               magnitude[e - begin]);
      break;
    case Op::sparse_softmax: {
      double most = -kInfinite, sum = 0;
      for (std::int32_t e = begin; e < end; ++e) most = std::max(most, p.scale * values[e]);
      for (std::int32_t e = begin; e < end; ++e) sum += value[e - begin] = std::exp(p.scale * values[e] - most);
      for (std::int64_t i = 0; i < row.length; ++i) magnitude[i] = value[i] /= sum;
      break;
    }
    case Op::sparse_softmax_backward: {
      const float* dp = second + row.batch * p.nnz;
      double sum = 0, size = 0;
      for (std::int32_t e = begin; e < end; ++e) {
        sum += static_cast<double>(values[e]) * dp[e];
        size += std::abs(static_cast<double>(values[e]) * dp[e]);
      }
      for (std::int32_t e = begin; e < end; ++e) {
        value[e - begin] = p.scale * values[e] * (dp[e] - sum);
        magnitude[e - begin] = std::abs(p.scale * values[e]) * (std::abs(dp[e]) + size);
      }
      break;
    }
    default: {  // attention
      const float* v = p.host_operand(2, call);
      std::vector<double> scores;
      double most = -kInfinite, sum = 0, unused = 0;
      for (std::int32_t e = begin; e < end; ++e) {
        scores.push_back(p.scale * dot(first + (row.batch * p.m + row.row) * p.n,
                                       second + (row.batch * p.m + columns[e]) * p.n, unused));
        most = std::max(most, scores.back());
      }
      for (double& s : scores) sum += s = std::exp(s - most);
      for (std::int32_t e = begin; e < end; ++e)
        add_scaled(scores[static_cast<std::size_t>(e - begin)] / sum, v + (row.batch * p.m + columns[e]) * p.n);
    }
  }
}

const Reference::Expected& Reference::expected(int call) {
  auto [it, is_new] = expected_.try_emplace(call);
  Expected& e = it->second;
  if (!is_new) return e;
  const std::int64_t size = rows_.empty() ? 0 : starts_.back() + rows_.back().length;
  e.value.resize(static_cast<std::size_t>(size));
  e.magnitude.resize(static_cast<std::size_t>(size));
  if (problem_.op == Op::attention_training) {
    AttentionGradient gradient(problem_, call, *columns_);
    std::vector<std::int64_t> queries;
    for (const Row& row : rows_) {
      if (row.part == 0)
        queries.push_back(row.batch * problem_.m + row.row);
      else
        gradient.queries_of(row.batch, row.row, queries);
    }
    gradient.prepare(std::move(queries));
#pragma omp parallel for schedule(dynamic, 1)
    for (std::size_t r = 0; r < rows_.size(); ++r) {
      const Row& row = rows_[r];
      double *value = e.value.data() + starts_[r], *magnitude = e.magnitude.data() + starts_[r];
      if (row.part == 0)
        gradient.dq(row.batch, row.row, value, magnitude);
      else if (row.part == 1)
        gradient.dk(row.batch, row.row, value, magnitude);
      else
        gradient.dv(row.batch, row.row, value, magnitude);
    }
    return e;
  }
#pragma omp parallel for schedule(dynamic, 4)
  for (std::size_t r = 0; r < rows_.size(); ++r)
    compute(rows_[r], call, e.value.data() + starts_[r], e.magnitude.data() + starts_[r]);
  return e;
}

CheckResult Reference::check(int call, const Tensor& result) {
  const Expected& want = expected(call);
  CheckResult check;
  check.bound = error_bound(problem_.op, problem_.precision);
  check.checked_rows = num_rows();
  check.total_rows = total_rows_;
  const bool whole = check.checked_rows == total_rows_;
  const Tensor flat = result.reshape({result.numel()});
  const Tensor all = whole ? flat.to(kCpu) : Tensor{};
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    const Row& row = rows_[r];
    if (row.length == 0) continue;
    const Tensor host = whole ? all : flat.slice(row.offset, row.offset + row.length).to(kCpu);
    for (std::int64_t j = 0; j < row.length; ++j) {
      const double got = number_at(host, whole ? row.offset + j : j);
      const auto at = static_cast<std::size_t>(starts_[r] + j);
      const double difference = std::abs(got - want.value[at]);
      const double error = !std::isfinite(got)       ? kInfinite
                           : difference == 0         ? 0
                           : want.magnitude[at] == 0 ? kInfinite
                                                     : difference / want.magnitude[at];
      if (error <= check.max_error && !(check.worst.empty() && error > 0)) continue;
      check.max_error = error;
      constexpr const char* kParts[] = {"dq, ", "dk, ", "dv, "};
      check.worst = fmt::format("[{}matrix {}, row {}, {}]: got {:.9g}, want {:.9g}",
                                problem_.op == Op::attention_training ? kParts[row.part] : "", row.batch, row.row, j,
                                got, want.value[at]);
      if (error == kInfinite) return check;
    }
  }
  return check;
}

}  // namespace lacuna::bench
