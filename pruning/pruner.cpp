#include "pruning/pruner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/ops/select.h"
#include "pruning/distribution.h"
#include "pruning/glob.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

void apply_mask(Parameter& parameter, const Tensor& keep) {
  if (parameter.is_sparse())
    parameter.retopologize(parameter.topology()->subset(keep));
  else
    parameter.retopologize(Topology::from_mask(keep.reshape(parameter.shape())));
}

}  // namespace

Score magnitude_score() {
  return [](const Parameter& p) { return magnitude(p.value().reshape({p.nnz()})); };
}

Score random_score(RandomStream& random) {
  return [&random](const Parameter& p) {
    return random_uniform({p.nnz()}, 0.0, 1.0, random.next(), p.value().dtype(), p.value().device());
  };
}

std::int64_t kept_entries(double sparsity, std::int64_t n) {
  return std::clamp<std::int64_t>(std::llround((1.0 - sparsity) * static_cast<double>(n)), 0, n);
}

void prune_parameter(Parameter& parameter, const Tensor& scores, std::int64_t kept) {
  if (scores.numel() != parameter.nnz())
    throw ShapeError("prune", fmt::format("{} scores for '{}' with {} stored entries; counts must agree",
                                          scores.numel(), parameter.name(), parameter.nnz()));
  if (kept >= parameter.nnz() && parameter.is_sparse()) return;
  apply_mask(parameter, top_k_mask(scores.reshape({scores.numel()}), std::min(kept, parameter.nnz())));
}

void prune_globally(const std::vector<Parameter*>& parameters, const Score& score, std::int64_t kept) {
  if (parameters.empty()) return;
  std::int64_t total = 0;
  for (const Parameter* p : parameters) total += p->nnz();
  const Tensor& first = parameters.front()->value();
  const Tensor scores = Tensor::empty({total}, first.dtype(), first.device());
  std::int64_t begin = 0;
  for (const Parameter* p : parameters) {
    scores.slice(begin, begin + p->nnz()).copy_from(score(*p));
    begin += p->nnz();
  }
  const Tensor keep = top_k_mask(scores, std::min(kept, total));
  begin = 0;
  for (Parameter* p : parameters) {
    const std::int64_t end = begin + p->nnz();
    apply_mask(*p, keep.slice(begin, end));
    begin = end;
  }
}

Pruner::Pruner(const PruningConfig& config, const std::vector<Parameter*>& parameters, std::uint64_t seed)
    : config_(config), seed_(seed) {
  if (config.method == "none") return;
  std::vector<bool> include_used(config.include.size()), exclude_used(config.exclude.size());
  for (Parameter* p : parameters) {
    if (!p->prunable) continue;
    bool included = false, excluded = false;
    for (std::size_t i = 0; i < config.include.size(); ++i)
      if (glob_matches(config.include[i], p->name())) include_used[i] = included = true;
    for (std::size_t i = 0; i < config.exclude.size(); ++i)
      if (glob_matches(config.exclude[i], p->name())) exclude_used[i] = excluded = true;
    if (included && !excluded) targets_.push_back(p);
  }
  std::string prunable;
  for (const Parameter* p : parameters)
    if (p->prunable && prunable.size() < 400) prunable += (prunable.empty() ? "" : ", ") + p->name();
  const auto demand_match = [&](const char* key, const std::vector<std::string>& globs, const std::vector<bool>& used) {
    for (std::size_t i = 0; i < globs.size(); ++i)
      if (!used[i])
        throw ConfigError("pruning." + std::string(key),
                          fmt::format("'{}' matches no prunable weight; must match one of: {}", globs[i], prunable));
  };
  demand_match("include", config.include, include_used);
  demand_match("exclude", config.exclude, exclude_used);
  if (targets_.empty())
    throw ConfigError("pruning.exclude", "leaves nothing to prune; exclude less, or set pruning.method to none");
}

bool Pruner::step(std::int64_t step) {
  if (!pruning_due(config_, step)) return false;
  const OpScope scope("prune");
  const double sparsity = target_sparsity(config_, step);
  RandomStream random(seed_ ^ 0x9E3779B97F4A7C15ull, static_cast<std::uint64_t>(step));
  const Score score = config_.method == "random" ? random_score(random) : magnitude_score();
  std::int64_t total = 0;
  for (const Parameter* p : targets_) total += p->shape().numel();
  if (config_.distribution == "global") {
    prune_globally(targets_, score, kept_entries(sparsity, total));
  } else if (config_.distribution == "erk") {
    std::vector<LayerShare> layers;
    for (const Parameter* p : targets_) layers.push_back({p->shape(), p->nnz()});
    const std::vector<std::int64_t> counts = erdos_renyi_kernel_counts(layers, kept_entries(sparsity, total));
    for (std::size_t i = 0; i < targets_.size(); ++i) prune_parameter(*targets_[i], score(*targets_[i]), counts[i]);
  } else {
    for (Parameter* p : targets_) prune_parameter(*p, score(*p), kept_entries(sparsity, p->shape().numel()));
  }
  return true;
}

double Pruner::achieved_sparsity() const {
  std::int64_t stored = 0, total = 0;
  for (const Parameter* p : targets_) {
    stored += p->nnz();
    total += p->shape().numel();
  }
  return total == 0 ? 0.0 : 1.0 - static_cast<double>(stored) / static_cast<double>(total);
}

}  // namespace lacuna
