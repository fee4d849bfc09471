// Measurements as the comparisons that a reader asks for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/bench/runner.h"

namespace lacuna::bench {

inline constexpr const char* kBestSparse = "best sparse";

/// Sparsities are gathered around the DLMC's nominal values; a bin's place is the mean sparsity of what it holds.
struct SparsityBin {
  std::string label;  ///< "0.9"
  double sparsity = 0;
  int count = 0;
  double geometric_mean = 0;
  double slower = 0;  ///< share of problems with a ratio below 1
};

/// baseline's time over ours: above 1 we are faster.
struct Ratio {
  double value = 0;
  const Measurement* ours = nullptr;
  const Measurement* baseline = nullptr;
};

struct Comparison {
  Op op = Op::spmm;
  Precision precision = Precision::f32;
  std::string ours;
  /// A contender; "best sparse", the fastest of kind sparse on each problem; or a dense one of coarser precision,
  /// "cublaslt (tf32)".
  std::string baseline;
  bool baseline_is_dense = false;
  std::vector<Ratio> ratios;  ///< ascending
  double geometric_mean = 0, lowest = 0, p10 = 0, median = 0, p90 = 0, highest = 0;
  double slower = 0;
  std::vector<SparsityBin> bins;
  std::vector<std::pair<std::string, double>> families;  ///< geometric mean of each
  double overtakes_at = 0;  ///< sparsity from which the bins' geometric mean reaches 1; NaN when it never does

  bool is_best_sparse() const { return baseline == kBestSparse; }
  /// What headlines and charts show; single sparse baselines are details.
  bool leads() const { return baseline_is_dense || is_best_sparse(); }
};

/// Where ours overtakes a dense baseline on one shape, over at least three sparsities.
struct Crossing {
  Op op = Op::spmm;
  Precision precision = Precision::f32;
  std::string ours, baseline, shape;
  double sparsity = 0;  ///< NaN: at none of those measured
};

/// How near the device's limits one of our contenders comes.
struct Efficiency {
  Op op = Op::spmm;
  Precision precision = Precision::f32;
  std::string ours;
  int count = 0;
  double best_flops = 0, median_flops = 0;  ///< useful ones per second
  double best_peak = 0, median_peak = 0;    ///< of the precision's arithmetic peak
  double best_l1 = 0, median_l1 = 0;        ///< of what L1 can deliver, each named row of B counted once per entry
  double best_copy = 0, median_copy = 0;    ///< least bytes per second over the measured copy
};

struct Summary {
  std::vector<Comparison> comparisons;
  std::vector<Crossing> crossings;
  std::vector<Efficiency> efficiencies;
  int problems = 0, failed = 0, errors = 0;
};

/// The measurements must outlive the summary.
Summary summarize(const std::vector<Measurement>& measurements, const DeviceLimits& limits);

/// "0.5" for sparsities below 0.55, then 0.6, 0.7, 0.8, 0.9, 0.95, "0.98" from 0.965.
std::string sparsity_label(double sparsity);

}  // namespace lacuna::bench
