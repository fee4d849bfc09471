#include "app/bench/report.h"

#include <fmt/format.h>

#include <map>

#include "app/bench/tables.h"
#include "train/chart.h"
#include "train/report.h"
#include "train/report_page.h"

namespace lacuna::bench {

namespace {

constexpr std::size_t kMostFailures = 30;  // shown

std::string title_of(Op op, Precision precision) { return fmt::format("{} {}", to_string(op), to_string(precision)); }

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
  for (auto& [spread, means] : pairs) {
    spread.series.push_back({"even", {{0, 1}, {100, 1}}});
    means.series.push_back({"even", {{0.5, 1}, {0.98, 1}}});
    html += render_chart(spread) + render_chart(means);
  }
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
                       fmt::format("{:.2f}x, slower on {:.1f} %", c.geometric_mean, 100 * c.slower));
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
  const Grid failures = failure_grid(measurements, kMostFailures);
  if (!failures.rows.empty())
    text +=
        fmt::format("Failed (the first {}; all are in results.csv):\n", failures.rows.size()) + failures.text() + "\n";
  return text;
}

std::string render_html(const ReportText& text, const Summary& summary, const std::vector<Measurement>& measurements) {
  std::string body = results_html(headline(summary)) + facts_html(text.facts);
  body += section("Failed",
                  "Results too far from the reference, and contenders that could not run. None of these is timed.",
                  failure_grid(measurements, kMostFailures));
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
  return render_page(text.title, text.subtitle, body);
}

}  // namespace lacuna::bench
