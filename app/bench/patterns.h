// Generated sparsity patterns, each a pure function of its arguments.
//   m, k: rows, columns.   CoV: coefficient of variation, standard deviation over mean, of the row lengths.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/topology.h"

namespace lacuna::bench {

enum class PatternKind : std::uint8_t {
  uniform,    ///< every place equally likely; row lengths spread as a binomial's
  cov,        ///< log-normal row lengths of a given CoV, columns uniform
  banded,     ///< one run of columns per row along the diagonal; all rows equally long
  power_law,  ///< row lengths ~ rank^-exponent in shuffled order, columns uniform
};

struct PatternSpec {
  PatternKind kind = PatternKind::uniform;
  double parameter = 0;  ///< cov: the CoV.  power_law: the exponent.
};

/// "uniform", "cov:0.3", "banded", "power_law" or "power_law:0.8" (0.7 when left out). Throws ConfigError.
PatternSpec parse_pattern(const std::string& text);
std::string to_string(const PatternSpec& spec);

/// A pattern on the CPU with round((1 - sparsity) m k) entries (banded: the nearest multiple of m), the same for
/// every kind. No row passes k; a CoV that would need that comes out smaller. Throws ValueError unless sparsity is in
/// [0, 1] and the entries fit 2^31 - 1.
TopologyPtr generate_pattern(const PatternSpec& spec, std::int64_t m, std::int64_t k, double sparsity,
                             std::uint64_t seed);

/// Lengths in proportion to `weights`, none above `most`, whose sum is `total` exactly (total <= most * count).
std::vector<std::int64_t> proportional_lengths(const std::vector<double>& weights, std::int64_t total,
                                               std::int64_t most);

/// CoV of a pattern's row lengths.
double row_length_cov(const Topology& topology);

}  // namespace lacuna::bench
