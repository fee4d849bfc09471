// What a run may say about sparsity: which method, when, how much, of what, in which units. docs/methods.md explains them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/field.h"

namespace lacuna {

/// Weights with a schedule of their own; what is left out is as in the section itself.
struct PruningGroupConfig {
  std::vector<std::string> include;
  std::optional<double> sparsity;
  std::optional<double> initial_sparsity;
  std::optional<std::string> schedule;
  std::optional<double> exponent;
  std::optional<std::int64_t> begin_step;
  std::optional<std::int64_t> end_step;
  std::optional<std::int64_t> frequency;
};

/// A layer that takes no part in the distribution: it has a sparsity of its own.
struct LayerSparsityConfig {
  std::vector<std::string> include;
  double sparsity = 0;
};

struct PruningConfig {
  std::string method = "none";
  std::string schedule = "cubic";
  double sparsity = 0.9;
  double initial_sparsity = 0.0;
  double exponent = 3.0;
  std::int64_t begin_step = 0;
  std::int64_t end_step = 0;
  std::int64_t frequency = 100;
  std::optional<double> begin_epoch;
  std::optional<double> end_epoch;
  std::optional<double> frequency_epochs;
  std::string convention = "zhu_gupta";
  std::optional<std::int64_t> rewind_step;
  double drop_fraction = 0.3;
  std::string drop_decay = "cosine";
  std::int64_t dense_steps = 0;
  std::int64_t score_batches = 1;
  std::string topology_from;
  double sparse_from = 0.0;
  std::string distribution = "uniform";
  std::vector<LayerSparsityConfig> layers;
  std::string granularity = "unstructured";
  std::vector<std::int64_t> block;
  std::int64_t vector = 0;
  std::vector<std::int64_t> n_m;
  std::vector<std::string> include = {"**"};
  std::vector<std::string> exclude;
  std::vector<PruningGroupConfig> groups;
};

template <class V>
void describe(PruningGroupConfig& c, V&& v) {
  const FieldRule schedules = one_of({"cubic", "polynomial", "linear", "cosine", "constant", "one_shot", "staged"});
  v("include", c.include, "Globs over parameter names; a weight is in the first group that matches", required(),
    non_empty());
  v("sparsity", c.sparsity, "Final fraction of zeros in the group", fraction());
  v("initial_sparsity", c.initial_sparsity, "Fraction of zeros at the beginning", fraction());
  v("schedule", c.schedule, "As pruning.schedule", schedules);
  v("exponent", c.exponent, "As pruning.exponent", positive());
  v("begin_step", c.begin_step, "As pruning.begin_step", non_negative());
  v("end_step", c.end_step, "As pruning.end_step", non_negative());
  v("frequency", c.frequency, "As pruning.frequency", positive());
}

template <class V>
void describe(LayerSparsityConfig& c, V&& v) {
  v("include", c.include, "Globs over parameter names", required(), non_empty());
  v("sparsity", c.sparsity, "Final fraction of zeros in each of these weights; 0 = dense", required(), fraction());
}

template <class V>
void describe(PruningConfig& c, V&& v) {
  v("method", c.method,
    "none, static (a fixed random or given pattern), magnitude, random, one_shot, set, rigl, snip or acdc",
    one_of({"none", "static", "magnitude", "random", "one_shot", "set", "rigl", "snip", "acdc"}));
  v("schedule", c.schedule, "Sparsity by step, for magnitude and random",
    one_of({"cubic", "polynomial", "linear", "cosine", "constant", "one_shot", "staged"}));
  v("sparsity", c.sparsity, "Final fraction of zeros in the pruned weights", fraction());
  v("initial_sparsity", c.initial_sparsity, "Fraction of zeros at the beginning of a gradual schedule", fraction());
  v("exponent", c.exponent, "Of the polynomial schedule; 3 is cubic", positive());
  v("begin_step", c.begin_step, "First step that may prune or update, counted from 0", non_negative());
  v("end_step", c.end_step, "Step from which the final sparsity holds, or updates have ended", non_negative());
  v("frequency", c.frequency, "Steps between two updates (acdc: steps of a compressed phase)", positive());
  v("begin_epoch", c.begin_epoch, "begin_step in epochs; null = begin_step holds", non_negative());
  v("end_epoch", c.end_epoch, "end_step in epochs; null = end_step holds", non_negative());
  v("frequency_epochs", c.frequency_epochs, "frequency in epochs; null = frequency holds", positive());
  v("convention", c.convention,
    "When gradual schedules are evaluated: zhu_gupta (at t, the end always), tfmot (at t, on the grid alone) or "
    "jaxpruner (at t + 1, steps that frequency divides)",
    one_of({"zhu_gupta", "tfmot", "jaxpruner"}));
  v("rewind_step", c.rewind_step, "staged: weights go back to their values before this step; null = they go on",
    non_negative());
  v("drop_fraction", c.drop_fraction, "set, rigl: share of the connections replaced at the first update", positive(),
    range(0, 1));
  v("drop_decay", c.drop_decay, "set, rigl: how drop_fraction falls towards end_step",
    one_of({"cosine", "constant", "linear"}));
  v("dense_steps", c.dense_steps, "acdc: steps of a dense phase; 0 = frequency", non_negative());
  v("score_batches", c.score_batches, "snip: batches whose gradients are averaged", positive());
  v("topology_from", c.topology_from, "static: a checkpoint whose sparse patterns are taken; empty = random patterns");
  v("sparse_from", c.sparse_from,
    "magnitude, random: weights stay dense and unpruned until the schedule reaches this sparsity", fraction());
  v("distribution", c.distribution,
    "uniform (every layer alike), er, erk (Erdos-Renyi, -Kernel: small layers stay denser) or global (one threshold)",
    one_of({"uniform", "er", "erk", "global"}));
  v("layers", c.layers, "Layers with a sparsity of their own, beside the distribution");
  v("granularity", c.granularity, "What is kept or removed together",
    one_of({"unstructured", "block", "vector", "n_m", "channel"}));
  v("block", c.block, "granularity block: [rows, columns]", positive());
  v("vector", c.vector, "granularity vector: consecutive rows in one column", non_negative());
  v("n_m", c.n_m, "granularity n_m: [n, m], n kept of each m consecutive columns", positive());
  v("include", c.include, "Globs over parameter names; of the prunable weights, those that match are pruned");
  v("exclude", c.exclude, "Globs over parameter names that stay dense");
  v("groups", c.groups, "Groups of weights with schedules of their own");
}

/// Everything that can be told without the model. Keys are those of the section.
void validate(const PruningConfig& config, const ReportProblem& problem);

/// The section with group `g`'s keys laid over it.
PruningConfig for_group(const PruningConfig& config, const PruningGroupConfig& g);

/// Turns the keys in epochs into steps (rounded to the nearest, at least 1 for the frequency).
PruningConfig in_steps(PruningConfig config, double steps_per_epoch);

/// The same weights at the final sparsity at once, at step 0: by magnitude, or the pattern that a method which starts sparse
/// begins with. For plans and benchmarks.
PruningConfig at_once(PruningConfig config);

}  // namespace lacuna
