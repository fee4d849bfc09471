#include "pruning/granularity.h"

#include <algorithm>
#include <cmath>

#include "pruning/selection.h"

namespace lacuna {

UnitGrid Granularity::grid(const Shape& shape) const {
  return {shape[0], shape[1], unit_rows, unit_cols == 0 ? std::max<std::int64_t>(shape[1], 1) : unit_cols};
}

std::int64_t Granularity::kept_units(double sparsity, const Shape& shape) const {
  const std::int64_t kept = kept_entries(sparsity, num_units(shape));
  return is_n_m() ? std::max(n, kept) : kept;
}

std::int64_t Granularity::stored_units(const Parameter& p) const {
  if (!p.is_sparse()) return num_units(p.shape());
  if (is_n_m()) return m;  // a group that holds fewer than are kept keeps all it holds
  const UnitGrid units = grid(p.shape());
  if (units.is_entries()) return p.nnz();
  const Tensor ones = Tensor::full({p.nnz()}, 1.0, DType::f32, p.value().device());
  const std::vector<float> means = unit_scores(ones, p.topology(), units).to_vector<float>();
  return std::count_if(means.begin(), means.end(), [](float x) { return !std::isnan(x); });
}

Granularity granularity_of(const PruningConfig& c) {
  Granularity g;
  if (c.granularity == "block" && c.block.size() == 2) {
    g.unit_rows = c.block[0];
    g.unit_cols = c.block[1];
  } else if (c.granularity == "vector") {
    g.unit_rows = std::max<std::int64_t>(c.vector, 1);
  } else if (c.granularity == "channel") {
    g.unit_cols = 0;
  } else if (c.granularity == "n_m" && c.n_m.size() == 2) {
    g.n = c.n_m[0];
    g.m = c.n_m[1];
  }
  return g;
}

}  // namespace lacuna
