#include "app/bench/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>

namespace lacuna::bench {

namespace {
constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) return kNone;
  std::sort(values.begin(), values.end());
  const double place = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  if (below + 1 >= values.size()) return values.back();
  return values[below] + (place - static_cast<double>(below)) * (values[below + 1] - values[below]);
}

double geometric_mean(const std::vector<double>& values) {
  if (values.empty()) return kNone;
  double sum = 0;
  for (const double v : values) sum += std::log(v);
  return std::exp(sum / static_cast<double>(values.size()));
}

double coefficient_of_variation(const std::vector<double>& values) {
  if (values.empty()) return 0;
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = sum / static_cast<double>(values.size());
  for (const double v : values) squares += (v - mean) * (v - mean);
  return mean == 0 ? 0 : std::sqrt(squares / static_cast<double>(values.size())) / mean;
}

Spread spread_of(const std::vector<double>& values) {
  return {quantile(values, 0.5), quantile(values, 0.1), quantile(values, 0.9)};
}

double crosses_one(const std::vector<double>& x, const std::vector<double>& y) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!(y[i] >= 1)) continue;
    if (i == 0 || !(y[i - 1] > 0)) return x[i];
    const double below = std::log(y[i - 1]), above = std::log(y[i]);
    return above == below ? x[i] : x[i - 1] + (x[i] - x[i - 1]) * -below / (above - below);
  }
  return kNone;
}

}  // namespace lacuna::bench
