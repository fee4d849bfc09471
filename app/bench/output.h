// results.csv and results.json.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/bench/summary.h"

namespace lacuna::bench {

/// A line per contender and problem, a header line first; columns in docs/benchmarks.md.
std::string to_csv(const std::vector<Measurement>& measurements, const DeviceLimits& limits);

/// {schema, environment, options, limits, results: [the CSV's columns], summary: {comparisons, crossings, efficiencies}}.
/// Numbers that do not exist are null.
nlohmann::ordered_json to_json(const std::vector<Measurement>& measurements, const Summary& summary,
                               const DeviceLimits& limits, const nlohmann::ordered_json& environment,
                               const nlohmann::ordered_json& options);

inline constexpr const char* kJsonSchema = "lacuna-bench-kernels/1";

}  // namespace lacuna::bench
