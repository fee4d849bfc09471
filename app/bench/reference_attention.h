// The gradients of attention in plain f64 loops, for reference.h.
#pragma once

#include <cstdint>
#include <vector>

#include "app/bench/problem.h"

namespace lacuna::bench {

/// A pattern by columns, by a counting sort that owes nothing to the library's transpose.
struct PatternColumns {
  std::vector<std::int32_t> offsets;  ///< [cols + 1]
  std::vector<std::int32_t> rows;     ///< [nnz]
  std::vector<std::int32_t> entries;  ///< [nnz], where each lies in the rows' order
  explicit PatternColumns(const Topology& pattern);
};

/// With s_ij = scale q_i k_j, p = softmax of s by rows, dp_ij = dO_i v_j, ds = p (dp - sum_j p dp):
///   dq_i = scale sum_j ds_ij k_j      dk_j = scale sum_i ds_ij q_i      dv_j = sum_i p_ij dO_i
/// Magnitudes replace every term by its absolute value.
class AttentionGradient {
 public:
  AttentionGradient(const Problem& problem, int call, const PatternColumns& columns);

  /// What a query's row needs to know of itself; must be there for every query that a later call meets. Any order, repeats.
  void prepare(std::vector<std::int64_t> queries);  ///< as batch * m + i
  /// The queries that name key j.
  void queries_of(std::int64_t batch, std::int64_t j, std::vector<std::int64_t>& queries) const;

  void dq(std::int64_t batch, std::int64_t i, double* value, double* magnitude) const;
  void dk(std::int64_t batch, std::int64_t j, double* value, double* magnitude) const;
  void dv(std::int64_t batch, std::int64_t j, double* value, double* magnitude) const;

 private:
  struct Query {
    double most = 0, sum = 0;      // of the scaled scores and their exponentials
    double dot = 0, dot_size = 0;  // sum_j p dp, and with absolute terms
    bool known = false;
  };
  struct Entry {
    double p = 0, ds = 0, ds_size = 0;
  };
  Entry entry(std::int64_t batch, std::int64_t i, std::int64_t j) const;
  const float* row(const float* operand, std::int64_t batch, std::int64_t i) const;

  const Problem& problem_;
  const PatternColumns& columns_;
  const float *q_, *k_, *v_, *dout_;
  std::vector<Query> queries_;
};

}  // namespace lacuna::bench
