// Order statistics of timings and ratios.
#pragma once

#include <vector>

namespace lacuna::bench {

/// The value below which a fraction q of the sorted values lies, interpolated between neighbours (as numpy's default);
/// NaN when there are none. q in [0, 1].
double quantile(std::vector<double> values, double q);

/// exp of the mean logarithm; NaN when there are none. Values must be positive.
double geometric_mean(const std::vector<double>& values);

/// Standard deviation over mean (of the population, as the paper's coefficient of variation); 0 for a mean of 0.
double coefficient_of_variation(const std::vector<double>& values);

struct Spread {
  double median = 0;
  double p10 = 0;
  double p90 = 0;
};
Spread spread_of(const std::vector<double>& values);

/// Where a curve first crosses 1, x ascending: linear in x and in log y between neighbours. x of the first point when
/// the curve begins at 1 or above; NaN when it never reaches 1. Only upward crossings count.
double crosses_one(const std::vector<double>& x, const std::vector<double>& y);

}  // namespace lacuna::bench
