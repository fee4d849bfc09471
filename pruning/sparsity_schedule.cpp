#include "pruning/sparsity_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lacuna {
namespace {

double progress(std::int64_t step, std::int64_t begin, std::int64_t end) {
  if (step >= end) return 1;
  return std::clamp(static_cast<double>(step - begin) / static_cast<double>(end - begin), 0.0, 1.0);
}

/// Updates from begin to end, both included, and how many of them have come up to and with `step`.
std::int64_t num_stages(const PruningConfig& c) {
  return (c.end_step - c.begin_step + c.frequency - 1) / c.frequency + 1;
}
std::int64_t stage_at(const PruningConfig& c, std::int64_t step) {
  return step >= c.end_step ? num_stages(c) : (step - c.begin_step) / c.frequency + 1;
}

/// The schedule's value at step t, t at or after begin_step.
double scheduled_sparsity(const PruningConfig& c, std::int64_t t) {
  if (c.schedule == "one_shot" || c.schedule == "constant") return c.sparsity;
  if (c.schedule == "staged") return staged_sparsity(stage_at(c, t), num_stages(c), c.initial_sparsity, c.sparsity);
  if (c.convention == "jaxpruner") ++t;
  if (c.schedule == "cosine") return cosine_sparsity(t, c.begin_step, c.end_step, c.initial_sparsity, c.sparsity);
  const double exponent = c.schedule == "linear" ? 1 : c.schedule == "cubic" ? 3 : c.exponent;
  return polynomial_sparsity(t, c.begin_step, c.end_step, c.initial_sparsity, c.sparsity, exponent);
}

/// Whether a gradual schedule has an update at `step`, sparse_from aside.
bool on_grid(const PruningConfig& c, std::int64_t step) {
  if (step < c.begin_step || step > c.end_step) return false;
  if (c.convention == "jaxpruner") return step % c.frequency == 0;
  return (step - c.begin_step) % c.frequency == 0 || (c.convention == "zhu_gupta" && step == c.end_step);
}

/// The last step up to `step` at which a gradual schedule updates; -1 when there is none.
std::int64_t last_on_grid(const PruningConfig& c, std::int64_t step) {
  if (step >= c.end_step && on_grid(c, c.end_step)) return c.end_step;
  const std::int64_t t = std::min(step, c.end_step), origin = c.convention == "jaxpruner" ? 0 : c.begin_step;
  const std::int64_t last = origin + (t - origin) / c.frequency * c.frequency;
  return t >= c.begin_step && last >= c.begin_step ? last : -1;
}

}  // namespace

double polynomial_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial,
                           double final_sparsity, double exponent) {
  if (step >= end) return final_sparsity;  // exactly, without rounding
  if (step <= begin) return initial;
  const double left = 1.0 - progress(step, begin, end);
  const double power = exponent == 1 ? left : exponent == 3 ? left * left * left : std::pow(left, exponent);
  return final_sparsity + (initial - final_sparsity) * power;
}

double cubic_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity) {
  return polynomial_sparsity(step, begin, end, initial, final_sparsity, 3);
}

double cosine_sparsity(std::int64_t step, std::int64_t begin, std::int64_t end, double initial, double final_sparsity) {
  if (step >= end) return final_sparsity;
  if (step <= begin) return initial;
  const double left = 0.5 * (1.0 + std::cos(std::numbers::pi * progress(step, begin, end)));
  return final_sparsity + (initial - final_sparsity) * left;
}

double staged_sparsity(std::int64_t stage, std::int64_t num_stages, double initial, double final_sparsity) {
  if (stage >= num_stages) return final_sparsity;
  const double share = static_cast<double>(stage) / static_cast<double>(num_stages);
  return 1.0 - (1.0 - initial) * std::pow((1.0 - final_sparsity) / (1.0 - initial), share);
}

double drop_fraction(const PruningConfig& c, std::int64_t step) {
  if (c.drop_decay == "constant") return c.drop_fraction;
  const double gone = progress(step, c.begin_step, c.end_step);
  if (c.drop_decay == "linear") return c.drop_fraction * (1.0 - gone);
  return c.drop_fraction / 2 * (1.0 + std::cos(std::numbers::pi * gone));
}

bool is_scheduled(const PruningConfig& c) { return c.method == "magnitude" || c.method == "random"; }

bool is_gradual(const PruningConfig& c) {
  return is_scheduled(c) && c.schedule != "one_shot" && c.schedule != "constant";
}

bool is_dynamic(const PruningConfig& c) { return c.method == "set" || c.method == "rigl"; }

bool has_end(const PruningConfig& c) { return is_gradual(c) || is_dynamic(c) || c.method == "acdc"; }

bool is_compressed(const PruningConfig& c, std::int64_t step) {
  if (step < c.begin_step) return false;
  if (step >= c.end_step) return true;
  const std::int64_t dense = c.dense_steps > 0 ? c.dense_steps : c.frequency;
  return (step - c.begin_step) % (c.frequency + dense) < c.frequency;
}

double target_sparsity(const PruningConfig& c, std::int64_t step) {
  if (c.method == "none") return 0;
  if (c.method == "acdc") return is_compressed(c, step) ? c.sparsity : 0;
  if (is_dynamic(c) || c.method == "static") return c.sparsity;
  if (step < c.begin_step) return 0;
  if (!is_gradual(c)) return c.sparsity;
  const double wanted = scheduled_sparsity(c, step);
  return wanted < c.sparse_from ? 0 : wanted;
}

bool pruning_due(const PruningConfig& c, std::int64_t step) {
  if (c.method == "none") return false;
  if (c.method == "static") return step == 0;
  if (c.method == "acdc") return is_compressed(c, step) != (step > 0 && is_compressed(c, step - 1));
  if (is_dynamic(c))
    return step == 0 || (step >= c.begin_step && step < c.end_step && (step - c.begin_step) % c.frequency == 0);
  if (!is_gradual(c)) return step == c.begin_step;
  return on_grid(c, step) && scheduled_sparsity(c, step) >= c.sparse_from;
}

std::int64_t last_pruning_step(const PruningConfig& c) {
  if (c.method == "static") return 0;
  if (is_gradual(c)) return std::max<std::int64_t>(last_on_grid(c, c.end_step), 0);
  if (is_dynamic(c)) {
    if (c.end_step <= c.begin_step) return 0;
    return c.begin_step + (c.end_step - 1 - c.begin_step) / c.frequency * c.frequency;
  }
  if (c.method == "acdc") {  // compressed for good from here
    std::int64_t step = c.end_step;
    while (step > c.begin_step && is_compressed(c, step - 1)) --step;
    return step;
  }
  return c.begin_step;
}

}  // namespace lacuna
