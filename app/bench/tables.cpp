#include "app/bench/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "train/chart.h"

namespace lacuna::bench {

namespace {

constexpr std::size_t kSlowest = 25;

std::string times(double ratio) { return std::isfinite(ratio) ? fmt::format("{:.2f}x", ratio) : "-"; }
std::string percent(double share) { return share > 0 ? fmt::format("{:.1f} %", 100 * share) : "-"; }
std::string at_sparsity(double sparsity) { return std::isfinite(sparsity) ? fmt::format("{:.3f}", sparsity) : "never"; }

}  // namespace

std::string Grid::text() const {
  Table table(columns);
  for (const auto& row : rows) table.add_row(row);
  return table.text();
}

std::string Grid::html() const {
  std::string out = "<div class=\"scroll\"><table>\n<thead><tr>";
  const auto open = [&](std::size_t i, const char* tag) {
    return columns[i].align == Align::right ? fmt::format("<{} class=\"n\">", tag) : fmt::format("<{}>", tag);
  };
  for (std::size_t i = 0; i < columns.size(); ++i) out += open(i, "th") + escape_html(columns[i].title) + "</th>";
  out += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    out += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) out += open(i, "td") + escape_html(row[i]) + "</td>";
    out += "</tr>\n";
  }
  return out + "</tbody></table></div>\n";
}

Grid comparison_grid(const Summary& summary, bool brief) {
  Grid grid{{{"op"},
             {"dtype"},
             {"ours"},
             {"baseline"},
             {"problems", Align::right},
             {"geomean", Align::right},
             {"least", Align::right},
             {"p10", Align::right},
             {"median", Align::right},
             {"p90", Align::right},
             {"most", Align::right},
             {"slower on", Align::right},
             {"overtakes at", Align::right}},
            {}};
  for (const Comparison& c : summary.comparisons) {
    if (brief && !c.leads()) continue;
    grid.rows.push_back({to_string(c.op), to_string(c.precision), c.ours, c.baseline, std::to_string(c.ratios.size()),
                         times(c.geometric_mean), times(c.lowest), times(c.p10), times(c.median), times(c.p90),
                         times(c.highest), fmt::format("{:.1f} %", 100 * c.slower),
                         c.baseline_is_dense ? at_sparsity(c.overtakes_at) : ""});
  }
  return grid;
}

Grid sparsity_grid(const Summary& summary, bool brief) {
  constexpr const char* kLabels[] = {"0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "0.98"};
  Grid grid{{{"op"}, {"dtype"}, {"ours"}, {"baseline"}}, {}};
  for (const char* label : kLabels) grid.columns.push_back({label, Align::right});
  for (const Comparison& c : summary.comparisons) {
    if (brief && !c.leads()) continue;
    std::vector<std::string> row{to_string(c.op), to_string(c.precision), c.ours, c.baseline};
    for (const char* label : kLabels) {
      const auto bin =
          std::find_if(c.bins.begin(), c.bins.end(), [&](const SparsityBin& b) { return b.label == label; });
      row.push_back(bin == c.bins.end() ? "" : times(bin->geometric_mean));
    }
    grid.rows.push_back(row);
  }
  return grid;
}

Grid family_grid(const Summary& summary) {
  std::set<std::string> families;
  for (const Comparison& c : summary.comparisons)
    for (const auto& [family, mean] : c.families) families.insert(family);
  Grid grid{{{"op"}, {"dtype"}, {"ours"}, {"baseline"}}, {}};
  for (const std::string& family : families) grid.columns.push_back({family, Align::right});
  for (const Comparison& c : summary.comparisons) {
    std::vector<std::string> row{to_string(c.op), to_string(c.precision), c.ours, c.baseline};
    for (const std::string& family : families) {
      const auto found =
          std::find_if(c.families.begin(), c.families.end(), [&](const auto& f) { return f.first == family; });
      row.push_back(found == c.families.end() ? "" : times(found->second));
    }
    grid.rows.push_back(row);
  }
  return grid;
}

Grid efficiency_grid(const Summary& summary) {
  Grid grid{{{"op"},
             {"dtype"},
             {"ours"},
             {"Gflop/s, best", Align::right},
             {"median", Align::right},
             {"of peak, best", Align::right},
             {"median", Align::right},
             {"of L1, best", Align::right},
             {"median", Align::right},
             {"of copy, best", Align::right},
             {"median", Align::right}},
            {}};
  const auto rate = [](double flops) { return flops > 0 ? fmt::format("{:.0f}", flops * 1e-9) : "-"; };
  for (const Efficiency& e : summary.efficiencies) {
    grid.rows.push_back({to_string(e.op), to_string(e.precision), e.ours, rate(e.best_flops), rate(e.median_flops),
                         percent(e.best_peak), percent(e.median_peak), percent(e.best_l1), percent(e.median_l1),
                         percent(e.best_copy), percent(e.median_copy)});
  }
  return grid;
}

Grid crossing_grid(const Summary& summary) {
  Grid grid{{{"op"}, {"dtype"}, {"shape (m x k x n)"}, {"ours"}, {"baseline"}, {"overtakes at sparsity", Align::right}},
            {}};
  for (const Crossing& c : summary.crossings)
    grid.rows.push_back(
        {to_string(c.op), to_string(c.precision), c.shape, c.ours, c.baseline, at_sparsity(c.sparsity)});
  return grid;
}

Grid slowest_grid(const Summary& summary) {
  std::vector<const Ratio*> ratios;
  std::set<std::pair<Op, Precision>> with_sparse;
  for (const Comparison& c : summary.comparisons)
    if (c.is_best_sparse()) with_sparse.insert({c.op, c.precision});
  for (const Comparison& c : summary.comparisons) {
    if (with_sparse.contains({c.op, c.precision}) != c.is_best_sparse()) continue;
    for (const Ratio& r : c.ratios) ratios.push_back(&r);
  }
  std::stable_sort(ratios.begin(), ratios.end(), [](const Ratio* a, const Ratio* b) { return a->value < b->value; });
  if (ratios.size() > kSlowest) ratios.resize(kSlowest);
  Grid grid{{{"problem"},
             {"m x k"},
             {"nnz", Align::right},
             {"sparsity", Align::right},
             {"row CoV", Align::right},
             {"ours"},
             {"us", Align::right},
             {"baseline"},
             {"us", Align::right},
             {"ratio", Align::right}},
            {}};
  for (const Ratio* r : ratios) {
    grid.rows.push_back({r->ours->problem(), fmt::format("{} x {}", r->ours->m, r->ours->k), format_count(r->ours->nnz),
                         fmt::format("{:.3f}", r->ours->sparsity), fmt::format("{:.2f}", r->ours->row_cov),
                         r->ours->contender, fmt::format("{:.1f}", r->ours->seconds() * 1e6), r->baseline->contender,
                         fmt::format("{:.1f}", r->baseline->seconds() * 1e6), times(r->value)});
  }
  return grid;
}

Grid failure_grid(const std::vector<Measurement>& all, std::size_t most) {
  Grid grid{{{"problem"}, {"contender"}, {"status"}, {"error", Align::right}, {"bound", Align::right}, {"what"}}, {}};
  for (const Measurement& m : all) {
    if (m.status == Status::ok || grid.rows.size() == most) continue;
    const bool failed = m.status == Status::failed;
    grid.rows.push_back({m.problem(), m.contender, to_string(m.status),
                         failed ? fmt::format("{:.2e}", m.check.max_error) : "",
                         failed ? fmt::format("{:.1e}", m.check.bound) : "", m.note});
  }
  return grid;
}

Grid error_grid(const std::vector<Measurement>& all) {
  Grid grid{{{"op"},
             {"dtype"},
             {"contender"},
             {"problems", Align::right},
             {"largest error", Align::right},
             {"bound", Align::right},
             {"rows checked", Align::right},
             {"of", Align::right}},
            {}};
  struct Line {
    std::int64_t count = 0, checked = 0, total = 0;
    double worst = 0, bound = 0;
  };
  std::map<std::tuple<Op, Precision, std::string>, Line> lines;
  for (const Measurement& m : all) {
    if (!m.checked || m.status == Status::error) continue;
    Line& line = lines[{m.op, m.precision, m.contender}];
    ++line.count;
    line.checked += m.check.checked_rows;
    line.total += m.check.total_rows;
    line.worst = std::max(line.worst, m.check.max_error);
    line.bound = m.check.bound;
  }
  for (const auto& [key, line] : lines) {
    grid.rows.push_back({to_string(std::get<0>(key)), to_string(std::get<1>(key)), std::get<2>(key),
                         std::to_string(line.count), fmt::format("{:.2e}", line.worst),
                         fmt::format("{:.1e}", line.bound), format_count(line.checked), format_count(line.total)});
  }
  return grid;
}

}  // namespace lacuna::bench
