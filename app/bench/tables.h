// The tables of a kernel benchmark, for the console and the page.
#pragma once

#include <string>
#include <vector>

#include "app/bench/summary.h"
#include "train/table.h"

namespace lacuna::bench {

/// Rows of cells as plain text or as HTML: the same content on the console and on the page.
struct Grid {
  std::vector<Table::Column> columns;
  std::vector<std::vector<std::string>> rows;
  std::string text() const;
  std::string html() const;
};

/// Ratios to every baseline, or (brief) to the best sparse one and the dense ones.
Grid comparison_grid(const Summary& summary, bool brief);
/// Geometric means by sparsity, and by family.
Grid sparsity_grid(const Summary& summary, bool brief);
Grid family_grid(const Summary& summary);
Grid efficiency_grid(const Summary& summary);
Grid crossing_grid(const Summary& summary);
/// The problems on which we do worst against the best sparse baseline (or, without one, the dense ones).
Grid slowest_grid(const Summary& summary);
/// What failed its check or could not run, and why; `most` lines of it.
Grid failure_grid(const std::vector<Measurement>& measurements, std::size_t most);
/// The largest error of each contender.
Grid error_grid(const std::vector<Measurement>& measurements);

}  // namespace lacuna::bench
