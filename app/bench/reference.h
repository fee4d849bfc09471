// What a result must be: each op in plain f64 loops on the host, and how far a result may lie from it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "app/bench/reference_attention.h"

namespace lacuna::bench {

/// Largest |got - want| / magnitude that passes, where the magnitude of an element is
///   products   sum |a| |b| over its terms
///   softmax    its own value p
///   softmax'   |p| (|dp| + sum over the row of |p dp|)
///   attention  sum of p |v|; gradients: see AttentionGradient
/// f32: 5e-7 for products (8 units of 2^-24; an f32 chain stays within 1 or 2 on data of random sign), 4e-6 where exp is
/// involved, 8e-6 for attention's gradients. tf32: 2e-3 (two operands cut to 10 bits each: 2 * 2^-10), 1e-2 for attention, 2e-2 for its gradients. bf16: 4e-3 (products of bf16 operands are exact in f32; the
/// result is rounded to 8 bits: 2^-9 of it at most), 4e-2 for attention and 8e-2 for its gradients.
double error_bound(Op op, Precision precision);

struct CheckResult {
  double max_error =
      0;  ///< relative to the magnitude; infinite when an element is not finite, or not 0 where it must be
  double bound = 0;
  std::int64_t checked_rows = 0;
  std::int64_t total_rows = 0;
  std::string worst;  ///< "[row 3, 17]: got 0.5, want 0.25", of the largest error
  bool passed() const { return max_error <= bound; }
};

/// The expected result of a problem's calls. All rows (of the result; for values, the pattern's rows) when the problem takes
/// at most full_work multiply-adds; otherwise the first, last, longest and shortest row and a random choice up to
/// sample_work.
class Reference {
 public:
  static constexpr double kFullWork = 1 << 25, kSampleWork = 1 << 22;
  explicit Reference(const Problem& problem, double full_work = kFullWork, double sample_work = kSampleWork);

  /// Compares `result`, of the problem's result shape and precision, on any device, with what call `call` must give.
  CheckResult check(int call, const Tensor& result);

  std::int64_t num_rows() const { return static_cast<std::int64_t>(rows_.size()); }

 private:
  struct Row {
    std::int64_t part = 0;  // of attention_training: dq, dk, dv
    std::int64_t batch = 0, row = 0;
    std::int64_t offset = 0, length = 0;  // in the result
  };
  struct Expected {
    std::vector<double> value, magnitude;  // of all chosen rows, one after another
  };
  void choose_rows(double full_work, double sample_work);
  void choose_gradient_rows(double full_work);
  const Expected& expected(int call);
  void compute(const Row& row, int call, double* value, double* magnitude) const;

  const Problem& problem_;
  std::optional<PatternColumns> columns_;  // where an op needs them
  std::int64_t total_rows_ = 0;
  std::vector<Row> rows_;
  std::vector<std::int64_t> starts_;  // of each row in Expected
  std::map<int, Expected> expected_;
};

}  // namespace lacuna::bench
