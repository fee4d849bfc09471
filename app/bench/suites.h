// What `lacuna bench kernels` was asked to measure, as a list of matrices.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "app/bench/problem.h"
#include "app/bench/timer.h"

namespace lacuna::bench {

/// The command line, unchecked.
struct Options {
  std::string suite;                  ///< dlmc, rnn, square, attention, quick, or empty
  std::vector<std::string> smtx;      ///< files and folders
  std::vector<std::string> ops;       ///< empty: the suite's
  std::vector<std::string> dtypes;    ///< f32, tf32, bf16; empty: the suite's
  std::vector<std::string> patterns;  ///< of generated matrices
  std::vector<std::int64_t> m, k, n, batch;
  std::vector<double> sparsity;
  std::string device = "auto";
  std::string out;         ///< a folder that does not exist yet; empty: runs/bench-kernels/<time>-<id>
  std::string filter;      ///< keep problems whose name contains one of these, separated by commas
  std::string contenders;  ///< the same for contenders' names
  bool quick = false;
  bool save_patterns = false;  ///< each matrix as a .smtx file beside the results
  std::uint64_t seed = 0;
  double budget_ms = 0;                   ///< per contender and problem; 0: 10 on CUDA, 150 on CPUs, a third with quick
  std::vector<std::string> command_line;  ///< argv
};

struct MatrixCase {
  std::string family;  ///< transformer, rn50, smtx, rnn, uniform, cov, banded, power_law, attention
  std::string name;    ///< unique with n, batch, op and precision
  std::string source;  ///< path, or how it was generated
  std::function<TopologyPtr()> load;
  std::vector<std::int64_t> n;
  std::vector<std::int64_t> batch{1};
  std::vector<Op> ops;
  std::vector<Precision> precisions;
};

/// The matrices in the order in which they are measured. Throws ConfigError for options that name nothing known, do not
/// fit together or leave nothing to measure; DataError for missing files.
std::vector<MatrixCase> plan_cases(const Options& options, Device device);

TimingBudget budget_of(const Options& options, Device device);

/// The case's n for an op: softmax has no dense operand and is measured once, as n = 1.
std::vector<std::int64_t> columns_of(const MatrixCase& matrix, Op op);

/// "spmm/f32/transformer/magnitude_pruning/0.9/layer n=256", with " b=8" for a batch of 8: what --filter looks at.
std::string problem_name(Op op, Precision precision, const std::string& matrix, std::int64_t n, std::int64_t batch);

/// Whether `text` contains one of the comma-separated parts of `filter`; an empty filter takes all.
bool matches(const std::string& filter, const std::string& text);

}  // namespace lacuna::bench
