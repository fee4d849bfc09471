#include "pruning/pruner.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "pruning/glob.h"
#include "pruning/rewind.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

constexpr std::uint64_t kSeedOfPruning = 0x9E3779B97F4A7C15ull;  // apart from initialisation and dropout

/// Globs of one key that remember whether they were of use.
class Globs {
 public:
  Globs(std::string key, const std::vector<std::string>& patterns)
      : key_(std::move(key)), patterns_(patterns), used_(patterns.size()) {}
  bool match(const std::string& name) {
    bool any = false;
    for (std::size_t i = 0; i < patterns_.size(); ++i)
      if (glob_matches(patterns_[i], name)) used_[i] = any = true;
    return any;
  }
  /// Throws ConfigKeyError for a pattern that never matched.
  void demand_use(const std::vector<Parameter*>& candidates) const {
    std::string names;
    for (const Parameter* p : candidates)
      if (names.size() < 400) names += (names.empty() ? "" : ", ") + p->name();
    for (std::size_t i = 0; i < patterns_.size(); ++i)
      if (!used_[i])
        throw ConfigKeyError(
            fmt::format("{}.{}", key_, i),
            fmt::format("'{}' matches no prunable weight; must match one of: {}", patterns_[i], names));
  }

 private:
  std::string key_;
  const std::vector<std::string>& patterns_;
  std::vector<bool> used_;
};

std::pair<std::int64_t, std::int64_t> stored_and_size(const std::vector<Parameter*>& parameters) {
  std::int64_t stored = 0, size = 0;
  for (const Parameter* p : parameters) {
    stored += p->nnz();
    size += p->shape().numel();
  }
  return {stored, size};
}

double sparsity_of(const std::vector<Parameter*>& parameters) {
  const auto [stored, size] = stored_and_size(parameters);
  return size == 0 ? 0.0 : 1.0 - static_cast<double>(stored) / static_cast<double>(size);
}

}  // namespace

RandomStream pruning_randomness(std::uint64_t seed, std::int64_t step) {
  return RandomStream(seed ^ kSeedOfPruning, static_cast<std::uint64_t>(step));
}

Pruner::Pruner(const PruningConfig& config, const std::vector<Parameter*>& parameters, std::uint64_t seed,
               const std::map<std::string, TopologyPtr>& given)
    : config_(config), method_(make_method(config.method)), all_(parameters), seed_(seed) {
  if (!method_) return;
  choose_targets(parameters);
  make_groups(given);
  check_targets();
}

void Pruner::choose_targets(const std::vector<Parameter*>& parameters) {
  Globs include("pruning.include", config_.include), exclude("pruning.exclude", config_.exclude);
  for (Parameter* p : parameters) {
    if (!p->prunable) continue;
    prunable_.push_back(p);
    const bool included = include.match(p->name()), excluded = exclude.match(p->name());
    if (included && !excluded) targets_.push_back(p);
  }
  include.demand_use(prunable_);
  exclude.demand_use(prunable_);
  if (targets_.empty())
    throw ConfigKeyError("pruning.exclude", "leaves nothing to prune; exclude less, or set pruning.method to none");
}

void Pruner::make_groups(const std::map<std::string, TopologyPtr>& given) {
  std::vector<Globs> of_groups, of_layers;
  for (std::size_t i = 0; i < config_.groups.size(); ++i)
    of_groups.emplace_back(fmt::format("pruning.groups.{}.include", i), config_.groups[i].include);
  for (std::size_t i = 0; i < config_.layers.size(); ++i)
    of_layers.emplace_back(fmt::format("pruning.layers.{}.include", i), config_.layers[i].include);
  std::vector<PruningGroup> groups(config_.groups.size() + 1);  // the last is the section's own
  for (std::size_t i = 0; i < groups.size(); ++i) {
    groups[i].config = i < config_.groups.size() ? for_group(config_, config_.groups[i]) : config_;
    groups[i].granularity = granularity_of(config_);
  }
  bool any_sparse = false;
  for (Parameter* p : targets_) {
    PruningTarget target{p, std::nullopt};
    for (std::size_t i = of_layers.size(); i-- > 0;)  // every glob is asked, the first that matches wins
      if (of_layers[i].match(p->name())) target.own_sparsity = config_.layers[i].sparsity;
    std::size_t group = config_.groups.size();
    for (std::size_t i = of_groups.size(); i-- > 0;)
      if (of_groups[i].match(p->name())) group = i;
    any_sparse |= target.own_sparsity.value_or(1) > 0;
    groups[group].targets.push_back(target);
    const Granularity& g = groups[group].granularity;
    const bool foreign = p->is_sparse() || !given.empty();  // a pattern that came from elsewhere promises nothing
    p->units = foreign ? PatternUnits{} : PatternUnits{g.unit_rows, g.unit_cols, g.n, g.m};
    if (given.empty() && config_.topology_from.empty()) continue;
    const auto pattern = given.find(p->name());
    if (pattern == given.end())
      throw ConfigKeyError("pruning.topology_from", fmt::format("holds no sparse pattern for '{}'", p->name()));
    if (Shape{pattern->second->rows(), pattern->second->cols()} != p->shape())
      throw ConfigKeyError("pruning.topology_from",
                           fmt::format("has a pattern [{}, {}] for '{}', which is {}", pattern->second->rows(),
                                       pattern->second->cols(), p->name(), to_string(p->shape())));
    groups[group].given.push_back(pattern->second);
  }
  for (const Globs& globs : of_layers) globs.demand_use(targets_);
  for (const Globs& globs : of_groups) globs.demand_use(targets_);
  if (!any_sparse)
    throw ConfigKeyError("pruning.layers", "leaves everything dense; set pruning.method to none for that");
  for (PruningGroup& g : groups)
    if (!g.targets.empty()) groups_.push_back(std::move(g));
}

void Pruner::check_targets() const {
  for (const PruningGroup& g : groups_) {
    for (const PruningTarget& t : g.targets) {
      const Parameter& p = *t.parameter;
      if (g.granularity.is_n_m() && p.shape()[1] % g.granularity.m != 0)
        throw ConfigKeyError("pruning.n_m", fmt::format("has m = {}, but '{}' has {} columns; m must divide them",
                                                        g.granularity.m, p.name(), p.shape()[1]));
      if (!p.is_sparse() || is_dynamic(g.config) || g.config.method == "static" || g.granularity.is_n_m()) continue;
      if (g.config.distribution != "uniform" && !t.own_sparsity) continue;  // the layer's share is not fixed
      const double wanted = t.own_sparsity.value_or(g.config.sparsity);
      if (g.granularity.stored_units(p) < g.granularity.kept_units(wanted, p.shape()))
        throw ConfigKeyError("pruning.sparsity",
                             fmt::format("asks for {}, but '{}' is {:.4f} sparse already; must be at least that",
                                         wanted, p.name(), p.sparsity()));
    }
  }
  std::int64_t stored = 0, wanted = 0;
  for (const PruningGroup& g : groups_) {
    if (g.config.distribution == "uniform" || is_dynamic(g.config) || g.config.method == "static") continue;
    for (const PruningTarget& t : g.targets) {
      stored += t.parameter->nnz();
      wanted += kept_entries(t.own_sparsity.value_or(g.config.sparsity), t.parameter->shape().numel());
    }
  }
  if (stored < wanted)
    throw ConfigKeyError("pruning.sparsity",
                         fmt::format("asks for {} stored weights, but only {} are left; must be sparser than the start",
                                     wanted, stored));
}

std::int64_t Pruner::score_batches(std::int64_t step) const {
  std::int64_t most = 0;
  for (const PruningGroup& g : groups_)
    if (pruning_due(g.config, step)) most = std::max(most, method_->score_batches(g));
  return most;
}

bool Pruner::step(std::int64_t step) {
  if (config_.rewind_step == step) keep_for_rewinding(all_);
  RandomStream random = pruning_randomness(seed_, step);
  bool any = false;
  for (PruningGroup& g : groups_) {
    if (!pruning_due(g.config, step)) continue;
    const OpScope scope("prune");
    any = true;
    method_->before_forward(g, step, random);
    if (!method_->grows_by_gradient(g, step)) continue;
    for (PruningTarget& t : g.targets)
      if (t.parameter->is_sparse()) t.parameter->gradient_pairs = std::make_shared<GradientPairs>();
  }
  if (any && config_.rewind_step) rewind(all_);
  if (config_.rewind_step && step == last_step()) forget_rewinding(all_);
  return any;
}

bool Pruner::growth_due(std::int64_t step) const {
  return std::any_of(groups_.begin(), groups_.end(), [&](const PruningGroup& g) {
    return pruning_due(g.config, step) && method_->grows_by_gradient(g, step);
  });
}

bool Pruner::after_backward(std::int64_t step) {
  bool any = false;
  for (PruningGroup& g : groups_) {
    if (!pruning_due(g.config, step) || !method_->grows_by_gradient(g, step)) continue;
    const OpScope scope("grow");
    method_->after_backward(g, step);
    any = true;
  }
  return any;
}

std::int64_t Pruner::last_step() const {
  std::int64_t last = 0;
  for (const PruningGroup& g : groups_) last = std::max(last, last_pruning_step(g.config));
  return last;
}

double Pruner::achieved_sparsity() const { return sparsity_of(targets_); }
double Pruner::overall_sparsity() const { return sparsity_of(prunable_); }

std::vector<LayerSparsity> Pruner::layers() const {
  std::vector<LayerSparsity> result;
  for (const PruningGroup& g : groups_) {
    const bool by_layer = g.config.distribution == "er" || g.config.distribution == "erk";
    std::vector<std::int64_t> counts = kept_units(g, g.config.sparsity);
    for (std::size_t i = 0; i < g.targets.size(); ++i) {
      const PruningTarget& t = g.targets[i];
      const Parameter& p = *t.parameter;
      // One threshold over all layers, and patterns that came from elsewhere: what is stored says nothing about what was asked.
      if (!by_layer || t.own_sparsity)
        counts[i] = g.granularity.kept_units(t.own_sparsity.value_or(g.config.sparsity), p.shape());
      const std::int64_t units = g.granularity.num_units(p.shape());
      const double share = units == 0 ? 0.0 : static_cast<double>(counts[i]) / static_cast<double>(units);
      result.push_back({p.name(), p.shape().numel(),
                        static_cast<std::int64_t>(share * static_cast<double>(p.shape().numel()) + 0.5), p.nnz(),
                        t.own_sparsity.has_value()});
    }
  }
  return result;
}

std::string Pruner::summary() const {
  std::int64_t requested = 0, stored = 0, size = 0;
  for (const LayerSparsity& layer : layers()) {
    requested += layer.requested;
    stored += layer.stored;
    size += layer.size;
  }
  const double all = static_cast<double>(std::max<std::int64_t>(size, 1));
  return fmt::format(
      "sparsity {:.4f} asked for, {:.4f} reached over {} weights ({} of {} stored); {:.4f} with the "
      "excluded ones",
      1 - static_cast<double>(requested) / all, 1 - static_cast<double>(stored) / all, targets_.size(), stored, size,
      overall_sparsity());
}

}  // namespace lacuna
