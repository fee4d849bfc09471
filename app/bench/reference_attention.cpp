#include "app/bench/reference_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lacuna::bench {

namespace {

double dot(const float* a, const float* b, std::int64_t n, double& size) {
  double sum = 0, total = 0;
#pragma omp simd reduction(+ : sum, total)
  for (std::int64_t j = 0; j < n; ++j) {
    const double term = static_cast<double>(a[j]) * b[j];
    sum += term;
    total += std::abs(term);
  }
  size = total;
  return sum;
}

void add(double* value, double* magnitude, double factor, double factor_size, const float* b, std::int64_t n) {
#pragma omp simd
  for (std::int64_t j = 0; j < n; ++j) {
    value[j] += factor * b[j];
    magnitude[j] += factor_size * std::abs(b[j]);
  }
}

}  // namespace

PatternColumns::PatternColumns(const Topology& pattern)
    : offsets(static_cast<std::size_t>(pattern.cols()) + 1, 0),
      rows(static_cast<std::size_t>(pattern.nnz())),
      entries(static_cast<std::size_t>(pattern.nnz())) {
  const std::int32_t *begin = pattern.row_offsets().data<std::int32_t>(),
                     *columns = pattern.col_indices().data<std::int32_t>();
  for (std::int64_t e = 0; e < pattern.nnz(); ++e) ++offsets[static_cast<std::size_t>(columns[e]) + 1];
  for (std::size_t j = 1; j < offsets.size(); ++j) offsets[j] += offsets[j - 1];
  std::vector<std::int32_t> next(offsets.begin(), offsets.end() - 1);
  for (std::int64_t i = 0; i < pattern.rows(); ++i) {
    for (std::int32_t e = begin[i]; e < begin[i + 1]; ++e) {
      const auto at = static_cast<std::size_t>(next[static_cast<std::size_t>(columns[e])]++);
      rows[at] = static_cast<std::int32_t>(i);
      entries[at] = e;
    }
  }
}

AttentionGradient::AttentionGradient(const Problem& problem, int call, const PatternColumns& columns)
    : problem_(problem),
      columns_(columns),
      q_(problem.host_operand(0, call)),
      k_(problem.host_operand(1, call)),
      v_(problem.host_operand(2, call)),
      dout_(problem.host_operand(3, call)),
      queries_(static_cast<std::size_t>(problem.batch * problem.m)) {}

const float* AttentionGradient::row(const float* operand, std::int64_t batch, std::int64_t i) const {
  return operand + (batch * problem_.m + i) * problem_.n;
}

void AttentionGradient::prepare(std::vector<std::int64_t> queries) {
  std::sort(queries.begin(), queries.end());
  queries.erase(std::unique(queries.begin(), queries.end()), queries.end());
  const Problem& p = problem_;
  const std::int32_t *offsets = p.pattern->row_offsets().data<std::int32_t>(),
                     *columns = p.pattern->col_indices().data<std::int32_t>();
#pragma omp parallel for schedule(dynamic, 1)
  for (std::size_t at = 0; at < queries.size(); ++at) {
    const std::int64_t batch = queries[at] / p.m, i = queries[at] % p.m;
    Query& query = queries_[static_cast<std::size_t>(queries[at])];
    if (query.known) continue;
    std::vector<double> scores;
    double size = 0;
    query.most = -std::numeric_limits<double>::infinity();
    for (std::int32_t e = offsets[i]; e < offsets[i + 1]; ++e) {
      scores.push_back(p.scale * dot(row(q_, batch, i), row(k_, batch, columns[e]), p.n, size));
      query.most = std::max(query.most, scores.back());
    }
    for (double& s : scores) query.sum += s = std::exp(s - query.most);
    for (std::int32_t e = offsets[i]; e < offsets[i + 1]; ++e) {
      const double share = scores[static_cast<std::size_t>(e - offsets[i])] / query.sum;
      query.dot += share * dot(row(dout_, batch, i), row(v_, batch, columns[e]), p.n, size);
      query.dot_size += share * size;
    }
    query.known = true;
  }
}

void AttentionGradient::queries_of(std::int64_t batch, std::int64_t j, std::vector<std::int64_t>& queries) const {
  const auto c = static_cast<std::size_t>(j);
  for (std::int32_t at = columns_.offsets[c]; at < columns_.offsets[c + 1]; ++at)
    queries.push_back(batch * problem_.m + columns_.rows[static_cast<std::size_t>(at)]);
}

AttentionGradient::Entry AttentionGradient::entry(std::int64_t batch, std::int64_t i, std::int64_t j) const {
  const Query& query = queries_[static_cast<std::size_t>(batch * problem_.m + i)];
  double size = 0;
  const double score = problem_.scale * dot(row(q_, batch, i), row(k_, batch, j), problem_.n, size);
  Entry made;
  made.p = std::exp(score - query.most) / query.sum;
  const double dp = dot(row(dout_, batch, i), row(v_, batch, j), problem_.n, size);
  made.ds = made.p * (dp - query.dot);
  made.ds_size = made.p * (size + query.dot_size);
  return made;
}

void AttentionGradient::dq(std::int64_t batch, std::int64_t i, double* value, double* magnitude) const {
  const std::int32_t *offsets = problem_.pattern->row_offsets().data<std::int32_t>(),
                     *columns = problem_.pattern->col_indices().data<std::int32_t>();
  for (std::int32_t e = offsets[i]; e < offsets[i + 1]; ++e) {
    const Entry x = entry(batch, i, columns[e]);
    add(value, magnitude, problem_.scale * x.ds, problem_.scale * x.ds_size, row(k_, batch, columns[e]), problem_.n);
  }
}

void AttentionGradient::dk(std::int64_t batch, std::int64_t j, double* value, double* magnitude) const {
  const auto c = static_cast<std::size_t>(j);
  for (std::int32_t at = columns_.offsets[c]; at < columns_.offsets[c + 1]; ++at) {
    const std::int64_t i = columns_.rows[static_cast<std::size_t>(at)];
    const Entry x = entry(batch, i, j);
    add(value, magnitude, problem_.scale * x.ds, problem_.scale * x.ds_size, row(q_, batch, i), problem_.n);
  }
}

void AttentionGradient::dv(std::int64_t batch, std::int64_t j, double* value, double* magnitude) const {
  const auto c = static_cast<std::size_t>(j);
  for (std::int32_t at = columns_.offsets[c]; at < columns_.offsets[c + 1]; ++at) {
    const std::int64_t i = columns_.rows[static_cast<std::size_t>(at)];
    const Entry x = entry(batch, i, j);
    add(value, magnitude, x.p, x.p, row(dout_, batch, i), problem_.n);
  }
}

}  // namespace lacuna::bench
