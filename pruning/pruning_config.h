// What a run may say about sparsity: when, how much, of what, chosen how.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/field.h"

namespace lacuna {

struct PruningConfig {
  std::string method = "none";
  std::string schedule = "cubic";
  double sparsity = 0.9;
  double initial_sparsity = 0.0;
  std::int64_t begin_step = 0;
  std::int64_t end_step = 0;
  std::int64_t frequency = 100;
  std::string distribution = "uniform";
  std::vector<std::string> include = {"**"};
  std::vector<std::string> exclude;
};

template <class V>
void describe(PruningConfig& c, V&& v) {
  v("method", c.method, "none, magnitude (keep the largest weights) or random (a fixed random pattern)",
    one_of({"none", "magnitude", "random"}));
  v("schedule", c.schedule, "cubic (Zhu & Gupta 2017) from begin_step to end_step, or one_shot at begin_step",
    one_of({"cubic", "one_shot"}));
  v("sparsity", c.sparsity, "Final fraction of zeros in the pruned weights", fraction());
  v("initial_sparsity", c.initial_sparsity, "Fraction of zeros at begin_step (cubic)", fraction());
  v("begin_step", c.begin_step, "First step that prunes, counted from 0", non_negative());
  v("end_step", c.end_step, "Step from which the final sparsity holds (cubic)", non_negative());
  v("frequency", c.frequency, "Steps between two prunings (cubic); end_step always prunes", positive());
  v("distribution", c.distribution,
    "uniform (every layer alike), erk (Erdos-Renyi-Kernel: small layers stay denser) or global (one threshold)",
    one_of({"uniform", "erk", "global"}));
  v("include", c.include, "Globs over parameter names; of the prunable weights, those that match are pruned");
  v("exclude", c.exclude, "Globs over parameter names that stay dense");
}

inline void validate(const PruningConfig& c, const ReportProblem& problem) {
  if (c.method == "none") return;
  if (c.schedule == "cubic" && c.method == "magnitude" && c.end_step <= c.begin_step)
    problem("end_step",
            "must be after begin_step (" + std::to_string(c.begin_step) + "), got " + std::to_string(c.end_step));
  if (c.initial_sparsity > c.sparsity)
    problem("initial_sparsity", "must be at most the final sparsity (" + std::to_string(c.sparsity) + ")");
  if (c.include.empty()) problem("include", "must name at least one glob, or set method to none");
}

}  // namespace lacuna
