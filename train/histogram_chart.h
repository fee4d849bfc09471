// One histogram of weight magnitudes as inline SVG: what an update kept, what it dropped, and the threshold between.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace lacuna {

struct HistogramChart {
  std::string title;                ///< the weight's name
  std::string label;                ///< "step 2,000"
  double high = 0;                  ///< equal bins from 0; the last one holds what is larger, too
  std::vector<double> kept;         ///< counts, [bins]
  std::vector<double> dropped;      ///< counts, [bins]; stands on top of kept
  std::optional<double> threshold;  ///< a magnitude
};

/// A small <svg> with class "chart", for a grid of many.
std::string render_histogram(const HistogramChart& chart);

}  // namespace lacuna
