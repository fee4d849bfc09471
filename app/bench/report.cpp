#include "app/bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "train/chart.h"
#include "train/report.h"
#include "train/table.h"

namespace lacuna::bench {

namespace {

constexpr std::size_t kSlowest = 25;

std::string times(double ratio) { return std::isfinite(ratio) ? fmt::format("{:.2f}x", ratio) : "-"; }
std::string percent(double share) { return share > 0 ? fmt::format("{:.1f} %", 100 * share) : "-"; }
std::string at_sparsity(double sparsity) { return std::isfinite(sparsity) ? fmt::format("{:.3f}", sparsity) : "never"; }
std::string title_of(Op op, Precision precision) { return fmt::format("{} {}", to_string(op), to_string(precision)); }

/// Rows of cells as a plain-text table or as HTML: the same content on the console and on the page.
struct Grid {
  std::vector<Table::Column> columns;
  std::vector<std::vector<std::string>> rows;

  std::string text() const {
    Table table(columns);
    for (const auto& row : rows) table.add_row(row);
    return table.text();
  }
  std::string html() const {
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
};

/// Every baseline, or (brief) the best sparse one and the dense ones.
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

/// The problems on which we do worst against the best sparse baseline (or, without one, the dense ones).
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

Grid failure_grid(const std::vector<Measurement>& all) {
  Grid grid{{{"problem"}, {"contender"}, {"status"}, {"error", Align::right}, {"bound", Align::right}, {"what"}}, {}};
  for (const Measurement& m : all) {
    if (m.status == Status::ok) continue;
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

/// Of one op and precision: how the ratios spread and their means by sparsity, two charts for each of our contenders, then
/// the rates reached.
std::string charts_of(const Summary& summary, const std::vector<Measurement>& all, Op op, Precision precision) {
  std::vector<std::pair<Chart, Chart>> pairs;
  std::string ours;
  for (const Comparison& c : summary.comparisons) {
    if (c.op != op || c.precision != precision || !c.leads()) continue;
    if (c.ours != ours) {
      ours = c.ours;
      const std::string title = title_of(op, precision) + ", " + ours;
      pairs.push_back({{.title = title,
                        .x_label = "share of problems, % (slowest first)",
                        .y_label = "speedup over",
                        .from_zero = true,
                        .hide_outliers = true},
                       {.title = title,
                        .x_label = "sparsity",
                        .y_label = "mean speedup over",
                        .from_zero = true,
                        .hide_outliers = true}});
    }
    ChartSeries quantiles{c.baseline, {}}, by_sparsity{c.baseline, {}};
    for (std::size_t i = 0; i < c.ratios.size(); ++i) {
      const double place =
          c.ratios.size() == 1 ? 50 : 100.0 * static_cast<double>(i) / static_cast<double>(c.ratios.size() - 1);
      quantiles.points.emplace_back(place, c.ratios[i].value);
    }
    for (const SparsityBin& bin : c.bins) by_sparsity.points.emplace_back(bin.sparsity, bin.geometric_mean);
    pairs.back().first.series.push_back(quantiles);
    pairs.back().second.series.push_back(by_sparsity);
  }
  Chart rate{.title = title_of(op, precision) + ", rate",
             .x_label = "sparsity",
             .y_label = is_product(op) ? "Gflop/s" : "Gbyte/s",
             .from_zero = true};
  std::map<std::string, std::map<std::string, std::vector<std::pair<double, double>>>> rates;  // contender, bin
  for (const Measurement& m : all) {
    if (m.op != op || m.precision != precision || m.status != Status::ok || m.kind == Kind::dense) continue;
    rates[m.contender][sparsity_label(m.sparsity)].emplace_back(
        m.sparsity, (is_product(op) ? m.flops : m.least_bytes) / m.seconds() * 1e-9);
  }
  for (const auto& [contender, bins] : rates) {
    ChartSeries series{contender, {}};
    for (const auto& [label, points] : bins) {
      std::vector<double> x, y;
      for (const auto& [sparsity, value] : points) x.push_back(sparsity), y.push_back(value);
      double sum = 0;
      for (const double v : x) sum += v;
      series.points.emplace_back(sum / static_cast<double>(x.size()), quantile(y, 0.5));
    }
    rate.series.push_back(series);
  }
  std::string html;
  for (const auto& [spread, means] : pairs) html += render_chart(spread) + render_chart(means);
  return rate.series.empty() ? html : html + render_chart(rate);
}

std::string section(const char* title, const char* note, const Grid& grid) {
  if (grid.rows.empty()) return "";
  return fmt::format("<h2>{}</h2>\n<p class=\"none\">{}</p>\n", title, note) + grid.html();
}

}  // namespace

std::string problem_line(const std::vector<Measurement>& lines) {
  if (lines.empty()) return "";
  const Measurement* ours = nullptr;
  for (const Measurement& m : lines)
    if (!ours && m.kind == Kind::ours && m.status == Status::ok) ours = &m;
  std::string text =
      fmt::format("{} [{} x {}, s {:.3f}]:", lines[0].problem(), lines[0].m, lines[0].k, lines[0].sparsity);
  for (const Measurement& m : lines) {
    text += fmt::format("{} {} ", &m == &lines[0] ? "" : ",", m.contender);
    if (m.status == Status::failed)
      text += fmt::format("FAILED ({:.1e} > {:.0e})", m.check.max_error, m.check.bound);
    else if (m.status == Status::error)
      text += "error";
    else
      text += fmt::format("{:.1f} us", m.seconds() * 1e6);
    if (ours && &m != ours && m.status == Status::ok) text += fmt::format(" ({:.2f}x)", m.seconds() / ours->seconds());
  }
  return text;
}

std::vector<std::pair<std::string, std::string>> headline(const Summary& summary) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Comparison& c : summary.comparisons) {
    if (!c.leads()) continue;
    lines.emplace_back(fmt::format("{}, {} over {}", title_of(c.op, c.precision), c.ours, c.baseline),
                       fmt::format("{}, slower on {:.1f} %", times(c.geometric_mean), 100 * c.slower));
  }
  return lines;
}

std::string summary_text(const Summary& summary, const std::vector<Measurement>& measurements) {
  std::string text;
  if (!summary.comparisons.empty()) {
    text += "Baseline's time over ours, above 1 we are faster:\n" + comparison_grid(summary, true).text() +
            "\nGeometric mean by sparsity:\n" + sparsity_grid(summary, true).text() + "\n";
  }
  if (!summary.efficiencies.empty()) text += "Against the device's limits:\n" + efficiency_grid(summary).text() + "\n";
  const Grid errors = error_grid(measurements);
  if (!errors.rows.empty()) text += "Largest error against f64, relative to sum |a||b|:\n" + errors.text() + "\n";
  const Grid failures = failure_grid(measurements);
  if (!failures.rows.empty()) text += "Failed:\n" + failures.text() + "\n";
  return text;
}

std::string render_html(const ReportText& text, const Summary& summary, const std::vector<Measurement>& measurements) {
  std::string body = results_html(headline(summary)) + facts_html(text.facts);
  body += section("Failed",
                  "Results too far from the reference, and contenders that could not run. None of these is timed.",
                  failure_grid(measurements));
  std::string charts;
  for (const Op op : kAllOps)
    for (const Precision precision : kAllPrecisions) charts += charts_of(summary, measurements, op, precision);
  if (!charts.empty()) body += "<h2>Charts</h2>\n<div class=\"charts\">\n" + charts + "</div>\n";
  body += section(
      "Speedups",
      "Baseline's time over ours: above 1 we are faster. 'best sparse' is the fastest sparse baseline of each problem. "
      "'overtakes at' is the sparsity from which the geometric mean reaches 1.",
      comparison_grid(summary, false));
  body += section("Geometric mean by sparsity", "Sparsities are gathered around the nominal values.",
                  sparsity_grid(summary, false));
  body += section("Geometric mean by family", "", family_grid(summary));
  body += section("Against the device's limits",
                  "Useful work only. Peak: of the precision's arithmetic. L1: dense rows that the entries name, each "
                  "counted, over 128 bytes per clock and multiprocessor; above 100 % rows are reused in registers. "
                  "Copy: each operand, index and "
                  "result once, over the measured copy.",
                  efficiency_grid(summary));
  body += section("Where sparse overtakes dense, by shape", "Interpolated between the sparsities measured.",
                  crossing_grid(summary));
  body += section("Where we do worst",
                  "The lowest ratios against the best sparse baseline, or the dense one where there is none.",
                  slowest_grid(summary));
  body +=
      section("Errors", "Largest error against f64, relative to the sum of absolute products (softmax: to the value).",
              error_grid(measurements));
  return html_page(text.title, text.subtitle, body);
}

}  // namespace lacuna::bench
