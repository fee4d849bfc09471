// The console's tables and report.html of a kernel benchmark.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "app/bench/summary.h"

namespace lacuna::bench {

/// One line while measuring: the problem, our time, the others' and how many times ours they take.
std::string problem_line(const std::vector<Measurement>& lines);

/// Comparisons, limits and what failed, as plain text.
std::string summary_text(const Summary& summary, const std::vector<Measurement>& measurements);

/// The headline: (label, value), such as ("spmm f32: over best sparse", "1.62x, slower on 2.0 %").
std::vector<std::pair<std::string, std::string>> headline(const Summary& summary);

struct ReportText {
  std::string title;
  std::string subtitle;
  std::vector<std::pair<std::string, std::string>> facts;
};
std::string render_html(const ReportText& text, const Summary& summary, const std::vector<Measurement>& measurements);

}  // namespace lacuna::bench
