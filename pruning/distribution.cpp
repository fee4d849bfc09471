#include "pruning/distribution.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lacuna {

std::vector<std::int64_t> erdos_renyi_kernel_counts(const std::vector<LayerShare>& layers, std::int64_t total) {
  const std::size_t n = layers.size();
  std::vector<double> weight(n, 0.0);
  std::vector<std::int64_t> counts(n, 0);
  for (std::size_t i = 0; i < n; ++i)
    for (std::int64_t dim : layers[i].shape)
      weight[i] += static_cast<double>(dim) / static_cast<double>(layers[i].unit);

  // Fill up whoever eps overfills, until nobody is: each round fills one layer at least.
  std::vector<bool> full(n, false);
  double eps = 0;
  for (bool changed = true; changed;) {
    changed = false;
    std::int64_t left = total;
    double free_weight = 0;
    for (std::size_t i = 0; i < n; ++i) {
      if (full[i])
        left -= layers[i].limit;
      else
        free_weight += weight[i];
    }
    eps = free_weight > 0 ? static_cast<double>(std::max<std::int64_t>(left, 0)) / free_weight : 0.0;
    for (std::size_t i = 0; i < n; ++i) {
      if (!full[i] && eps * weight[i] >= static_cast<double>(layers[i].limit)) full[i] = changed = true;
    }
  }

  std::vector<double> remainder(n, -1.0);
  std::int64_t given = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double share = eps * weight[i];
    counts[i] = full[i] ? layers[i].limit : static_cast<std::int64_t>(std::floor(share));
    if (!full[i]) remainder[i] = share - std::floor(share);
    given += counts[i];
  }
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainder[a] > remainder[b]; });
  for (std::size_t i : order) {
    if (given >= total) break;
    if (counts[i] < layers[i].limit) ++counts[i], ++given;
  }
  return counts;
}

}  // namespace lacuna
