#include "pruning/selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/ops/pointwise.h"
#include "core/ops/select.h"

namespace lacuna {
namespace {

Tensor flat(const Tensor& t) { return t.reshape({t.numel()}); }

void apply_mask(Parameter& parameter, const Tensor& keep) {
  if (parameter.is_sparse()) return parameter.retopologize(parameter.topology()->subset(keep));
  const TopologyPtr pattern = Topology::from_mask(keep.reshape(parameter.shape()));
  // A dense weight that loses nothing stays dense: a full pattern would only cost.
  if (pattern->nnz() < parameter.nnz()) parameter.retopologize(pattern);
}

/// One score per unit, or per entry where units are entries.
Tensor scores_of_units(const Parameter& p, const Tensor& scores, const UnitGrid& grid) {
  return grid.is_entries() ? flat(scores) : unit_scores(flat(scores), p.topology(), grid);
}

Tensor entries_of_units(const Parameter& p, const Tensor& keep, const UnitGrid& grid) {
  return grid.is_entries() ? keep : expand_units(keep, p.topology(), grid);
}

}  // namespace

Score magnitude_score() {
  return [](const Parameter& p) { return magnitude(flat(p.value())); };
}

Score random_score(RandomStream& random) {
  return [&random](const Parameter& p) {
    return random_uniform({p.nnz()}, 0.0, 1.0, random.next(), p.value().dtype(), p.value().device());
  };
}

Score sensitivity_score() {
  return [](const Parameter& p) {
    if (!p.grad().defined())
      throw ValueError("snip", fmt::format("'{}' has no gradient; a scoring pass must come first", p.name()));
    return magnitude(flat(mul(p.value(), p.grad())));
  };
}

std::int64_t kept_entries(double sparsity, std::int64_t n) {
  return std::clamp<std::int64_t>(std::llround((1.0 - sparsity) * static_cast<double>(n)), 0, n);
}

Tensor keep_mask(const Parameter& p, const Tensor& scores, std::int64_t kept, const Granularity& granularity) {
  if (scores.numel() != p.nnz())
    throw ShapeError("prune", fmt::format("{} scores for '{}' with {} stored entries; counts must agree",
                                          scores.numel(), p.name(), p.nnz()));
  if (granularity.is_n_m())
    return flat(
        top_n_of_m(p.is_sparse() ? flat(scores) : scores.reshape(p.shape()), p.topology(), kept, granularity.m));
  const UnitGrid grid = granularity.grid(p.shape());
  const Tensor units = scores_of_units(p, scores, grid);
  return entries_of_units(p, top_k_mask(units, std::min(kept, units.numel())), grid);
}

void prune_parameter(Parameter& p, const Tensor& scores, std::int64_t kept, const Granularity& granularity) {
  const Tensor keep = keep_mask(p, scores, kept, granularity);
  if (kept >= granularity.num_units(p.shape())) return;
  apply_mask(p, keep);
}

void prune_globally(const std::vector<Parameter*>& parameters, const Score& score, std::int64_t kept,
                    const Granularity& granularity) {
  if (parameters.empty()) return;
  const auto count = [&](const Parameter& p) {
    const UnitGrid grid = granularity.grid(p.shape());
    return grid.is_entries() ? p.nnz() : grid.count();
  };
  std::int64_t total = 0;
  for (const Parameter* p : parameters) total += count(*p);
  const Tensor& first = parameters.front()->value();
  const Tensor scores = Tensor::empty({total}, first.dtype(), first.device());
  std::int64_t begin = 0;
  for (const Parameter* p : parameters) {
    const std::int64_t end = begin + count(*p);
    scores.slice(begin, end).copy_from(scores_of_units(*p, score(*p), granularity.grid(p->shape())));
    begin = end;
  }
  const Tensor keep = top_k_mask(scores, std::min(kept, total));
  begin = 0;
  for (Parameter* p : parameters) {
    const std::int64_t end = begin + count(*p);
    apply_mask(*p, entries_of_units(*p, keep.slice(begin, end), granularity.grid(p->shape())));
    begin = end;
  }
}

}  // namespace lacuna
