// When to prune and how much, as pure functions of the step.
#pragma once

#include <cstdint>

#include "pruning/pruning_config.h"

namespace lacuna {

/// Zhu & Gupta 2017 with any exponent: s_f + (s_i - s_f) (1 - clamp((t - t0) / (t1 - t0), 0, 1))^p. Exactly s_f from `end`
/// on, exactly s_i up to `begin`.
double polynomial_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial,
                           double final_sparsity, double exponent);
/// The same with exponent 3.
double cubic_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity);
/// Half a cosine wave from s_i to s_f.
double cosine_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity);
/// Iterative magnitude pruning (Frankle & Carbin 2019): stage i of n leaves (1 - s_i) ((1 - s_f) / (1 - s_i))^(i / n), so
/// each removes the same share of what is left. Stages are numbered from 1; the last gives exactly s_f.
double staged_sparsity(std::int64_t stage, std::int64_t num_stages, double initial, double final_sparsity);

/// RigL's drop fraction (Evci et al. 2020, section 3; with begin_step 0 as there): by drop_decay, cosine
/// f / 2 (1 + cos(pi (t - begin) / (end - begin))), constant f, or linear f (1 - (t - begin) / (end - begin)).
double drop_fraction(const PruningConfig& config, std::int64_t step);

/// magnitude and random: their sparsity follows `schedule`.
bool is_scheduled(const PruningConfig& config);
/// A schedule between begin_step and end_step: neither one_shot nor another method's.
bool is_gradual(const PruningConfig& config);
/// set and rigl: sparse from the start, connections move.
bool is_dynamic(const PruningConfig& config);
/// Whether end_step means anything.
bool has_end(const PruningConfig& config);
/// acdc: whether weights are compressed during `step` (Peste et al. 2021, section 4): dense before begin_step, compressed
/// from end_step on; between them `frequency` compressed and `dense_steps` dense steps in turn, beginning compressed.
bool is_compressed(const PruningConfig& config, std::int64_t step);

/// Sparsity that the schedule asks for at `step`; 0 before it begins. Dynamic methods, static and snip: constant.
double target_sparsity(const PruningConfig& config, std::int64_t step);

/// Whether the pattern is set anew around `step` (0-based), by the config's method:
///   magnitude, random   at begin_step, every `frequency` steps after it, and at end_step itself (convention zhu_gupta);
///                       not while the schedule is below sparse_from
///   one_shot, snip      at begin_step
///   static              at step 0
///   set, rigl           at step 0, then every `frequency` steps from begin_step on (never step 0) while before end_step
///   acdc                where a phase begins
bool pruning_due(const PruningConfig& config, std::int64_t step);

/// The last step at which pruning_due holds.
std::int64_t last_pruning_step(const PruningConfig& config);

}  // namespace lacuna
