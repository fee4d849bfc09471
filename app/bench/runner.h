// Checks and times every contender on every problem.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/bench/contender.h"
#include "app/bench/limits.h"
#include "app/bench/reference.h"
#include "app/bench/suites.h"

namespace lacuna::bench {

enum class Status : std::uint8_t {
  ok,
  failed,  ///< its result is too far from the reference; not timed
  error,   ///< it threw: `note` says what
};
const char* to_string(Status status);

/// One contender on one problem: a line of results.csv.
struct Measurement {
  Op op = Op::spmm;
  Precision precision = Precision::f32;
  std::string family, matrix, source;
  std::int64_t m = 0, k = 0, n = 0, batch = 1, nnz = 0;
  double sparsity = 0, row_cov = 0;
  std::string contender;
  Kind kind = Kind::ours;
  Status status = Status::ok;
  Timing timing;
  int rotation = 1;
  bool checked = true;
  CheckResult check;
  bool repeats = true;  ///< a second run gave the same bits; tried for ours alone
  double flops = 0, dense_flops = 0, gathered_bytes = 0, least_bytes = 0;
  std::string note;

  double seconds() const { return timing.seconds.median; }
  /// Floating-point operations that this contender is counted with: a dense one does the whole product.
  double work() const { return kind == Kind::dense ? dense_flops : flops; }
  std::string problem() const { return problem_name(op, precision, matrix, n, batch); }
};

/// All of a problem's measurements are handed to `on_problem` as soon as they are there; errors are measurements too.
std::vector<Measurement> run_cases(const std::vector<MatrixCase>& cases, const Options& options, Device device,
                                   const std::vector<Contender>& contenders,
                                   const std::function<void(const std::vector<Measurement>&)>& on_problem);

}  // namespace lacuna::bench
