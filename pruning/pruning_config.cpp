#include "pruning/pruning_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

bool uses_epochs(const PruningConfig& c) { return c.begin_epoch || c.end_epoch || c.frequency_epochs; }

void validate_epochs(const PruningConfig& c, const ReportProblem& problem) {
  if (!uses_epochs(c)) return;
  if (c.begin_epoch && c.begin_step != 0) problem("begin_epoch", "must not stand beside begin_step");
  if (c.end_epoch && c.end_step != 0) problem("end_epoch", "must not stand beside end_step");
  if (c.end_epoch && c.end_step == 0 && c.begin_step != 0) problem("begin_step", "must be begin_epoch where end_epoch is given");
  if (c.begin_epoch && !c.end_epoch && has_end(c)) problem("begin_epoch", "must come with end_epoch");
  if (!c.groups.empty()) problem("groups", "give steps; must not stand beside keys in epochs");
}

/// Begin, end and amounts of the section, or of a group laid over it; `key` names the group's keys.
template <class Key>
void validate_schedule(const PruningConfig& c, const ReportProblem& problem, Key&& key) {
  if (c.end_epoch) {
    if (*c.end_epoch <= c.begin_epoch.value_or(0))
      problem(key("end_epoch"),
              fmt::format("must be after begin_epoch ({}), got {}", c.begin_epoch.value_or(0), *c.end_epoch));
  } else if (has_end(c) && c.end_step <= c.begin_step) {
    problem(key("end_step"), fmt::format("must be after begin_step ({}), got {}", c.begin_step, c.end_step));
  }
  if (c.sparsity == 0)
    problem(key("sparsity"), "must be positive, or everything stays dense; set method to none for that");
  if (c.initial_sparsity > c.sparsity)
    problem(key("initial_sparsity"), fmt::format("must be at most the final sparsity ({})", c.sparsity));
  if (c.convention == "tfmot" && is_gradual(c) && !uses_epochs(c) && c.end_step > c.begin_step &&
      (c.end_step - c.begin_step) % c.frequency != 0)
    problem(key("frequency"), fmt::format("must divide end_step - begin_step ({}) under convention tfmot, or the final "
                                          "sparsity is never reached, got {}",
                                          c.end_step - c.begin_step, c.frequency));
  if (c.convention == "jaxpruner" && is_gradual(c) && !uses_epochs(c) && c.end_step > c.begin_step &&
      target_sparsity(c, last_pruning_step(c)) != c.sparsity)
    problem(key("frequency"), fmt::format("must divide end_step or end_step - 1 ({}) under convention jaxpruner, or "
                                          "the final sparsity is never reached, got {}",
                                          c.end_step, c.frequency));
}

void validate_granularity(const PruningConfig& c, const ReportProblem& problem) {
  const auto belongs = [&](const char* key, bool given, const char* granularity) {
    if (given && c.granularity != granularity)
      problem(key, fmt::format("is a key of granularity {}, not of {}", granularity, c.granularity));
    if (!given && c.granularity == granularity)
      problem("granularity", fmt::format("{} needs the key {}", granularity, key));
  };
  belongs("block", !c.block.empty(), "block");
  belongs("vector", c.vector != 0, "vector");
  belongs("n_m", !c.n_m.empty(), "n_m");
  if (!c.block.empty() && c.block.size() != 2) problem("block", "must be two numbers, [rows, columns]");
  if (c.n_m.empty()) return;
  if (c.n_m.size() != 2 || c.n_m[0] > c.n_m[1]) return problem("n_m", "must be two numbers, [n, m], n at most m");
  const double of_pattern = 1.0 - static_cast<double>(c.n_m[0]) / static_cast<double>(c.n_m[1]);
  if (std::abs(c.sparsity - of_pattern) > 1e-9)
    problem("sparsity", fmt::format("must be {} for n_m [{}, {}], got {}", of_pattern, c.n_m[0], c.n_m[1], c.sparsity));
  if (c.distribution != "uniform")
    problem("distribution",
            fmt::format("must be uniform for n_m, which fixes every layer's sparsity, got '{}'", c.distribution));
  if (!c.layers.empty()) problem("layers", "must be empty for n_m, which fixes every layer's sparsity");
}

void validate_method_keys(const PruningConfig& c, const ReportProblem& problem) {
  if (c.rewind_step && (!is_scheduled(c) || c.schedule != "staged"))
    problem("rewind_step", "needs schedule staged and method magnitude or random");
  if (c.rewind_step && *c.rewind_step > c.begin_step)
    problem("rewind_step", fmt::format("must be at most begin_step ({}), got {}", c.begin_step, *c.rewind_step));
  if (!c.topology_from.empty() && c.method != "static") problem("topology_from", "needs method static");
  if (c.sparse_from > 0 && !is_scheduled(c)) problem("sparse_from", "needs method magnitude or random");
  if (c.sparse_from > c.sparsity)
    problem("sparse_from", fmt::format("must be at most the final sparsity ({}), got {}", c.sparsity, c.sparse_from));
  if (c.dense_steps > 0 && c.method != "acdc") problem("dense_steps", "needs method acdc");
}

}  // namespace

void validate(const PruningConfig& c, const ReportProblem& problem) {
  if (c.method == "none") return;
  validate_schedule(c, problem, [](const char* key) { return std::string(key); });
  validate_epochs(c, problem);
  validate_granularity(c, problem);
  validate_method_keys(c, problem);
  if (c.include.empty()) problem("include", "must name at least one glob, or set method to none");
  for (std::size_t i = 0; i < c.groups.size(); ++i)
    validate_schedule(for_group(c, c.groups[i]), problem,
                      [&](const char* key) { return fmt::format("groups.{}.{}", i, key); });
}

PruningConfig for_group(const PruningConfig& config, const PruningGroupConfig& g) {
  PruningConfig c = config;
  c.sparsity = g.sparsity.value_or(c.sparsity);
  c.initial_sparsity = g.initial_sparsity.value_or(c.initial_sparsity);
  c.schedule = g.schedule.value_or(c.schedule);
  c.exponent = g.exponent.value_or(c.exponent);
  c.begin_step = g.begin_step.value_or(c.begin_step);
  c.end_step = g.end_step.value_or(c.end_step);
  c.frequency = g.frequency.value_or(c.frequency);
  return c;
}

PruningConfig in_steps(PruningConfig c, double steps_per_epoch) {
  const auto steps = [&](double epochs) { return static_cast<std::int64_t>(std::llround(epochs * steps_per_epoch)); };
  if (c.begin_epoch) c.begin_step = steps(*c.begin_epoch);
  if (c.end_epoch) c.end_step = steps(*c.end_epoch);
  if (c.frequency_epochs) c.frequency = std::max<std::int64_t>(1, steps(*c.frequency_epochs));
  c.begin_epoch = c.end_epoch = c.frequency_epochs = std::nullopt;
  return c;
}

PruningConfig at_once(PruningConfig c) {
  c = in_steps(std::move(c), 1);
  const bool starts_sparse = is_dynamic(c) || c.method == "static";
  c.method = starts_sparse ? "static" : "one_shot";
  c.begin_step = 0;
  c.rewind_step = std::nullopt;
  c.sparse_from = 0;
  for (PruningGroupConfig& g : c.groups) g.begin_step = 0;
  return c;
}

}  // namespace lacuna
