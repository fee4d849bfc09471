// The page of a sweep: quality and cost against sparsity.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "app/sweep_results.h"
#include "train/chart.h"
#include "train/report_page.h"
#include "train/table.h"

namespace lacuna {
namespace {

// The last part of a dotted key.
std::string short_key(const std::string& key) { return key.substr(key.rfind('.') + 1); }

// Groups that differ in their sparsity alone: one line of a chart.
struct Line {
  std::string name;
  std::vector<const SweepGroup*> groups;
};

double reached(const SweepGroup& group) { return group.over(&SweepNumbers::sparsity).mean; }
bool is_dense(const SweepGroup& group) { return !(reached(group) > 0); }

// "rigl, width 1.8"; "dense" stands for what is not sparse, whatever its method.
std::string name_of(const SweepGroup& group, const std::string& default_method) {
  std::string name = is_dense(group) ? "dense" : "";
  for (const auto& [key, value] : group.settings) {
    const bool is_method = key == "pruning.method";
    if (key == "pruning.sparsity" || (is_method && is_dense(group))) continue;
    name +=
        fmt::format("{}{}", name.empty() ? "" : ", ", is_method ? value : fmt::format("{} {}", short_key(key), value));
  }
  return name.empty() ? default_method : name;
}

std::vector<Line> lines_of(const std::vector<SweepGroup>& groups, const std::string& default_method) {
  std::vector<Line> lines;
  for (const SweepGroup& group : groups) {
    if (group.finished.empty() || is_dense(group)) continue;
    const std::string name = name_of(group, default_method);
    auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& l) { return l.name == name; });
    if (line == lines.end()) line = lines.insert(lines.end(), {name, {}});
    line->groups.push_back(&group);
  }
  return lines;
}

template <class X, class Y>
Chart chart_of(Chart chart, const std::vector<Line>& lines, const std::vector<SweepGroup>& groups,
               const std::string& default_method, const X& x, const Y& y) {
  chart.legend = false;
  for (const Line& line : lines) {
    ChartSeries series{line.name, {}};
    std::vector<const SweepGroup*> ordered = line.groups;  // x must ascend
    std::stable_sort(ordered.begin(), ordered.end(),
                     [&x](const SweepGroup* a, const SweepGroup* b) { return x(*a) < x(*b); });
    for (const SweepGroup* group : ordered) {
      const MeanAndDeviation value = y(*group);
      if (!std::isfinite(value.mean) || !std::isfinite(x(*group))) continue;
      series.points.emplace_back(x(*group), value.mean);
      series.errors.push_back(value.deviation);
    }
    chart.series.push_back(std::move(series));  // empty ones too: a line has its colour by its place
  }
  for (const SweepGroup& group : groups)
    if (!group.finished.empty() && is_dense(group) && std::isfinite(y(group).mean))
      chart.references.push_back({name_of(group, default_method), y(group).mean});
  return chart;
}

bool has_points(const Chart& chart) {
  return std::any_of(chart.series.begin(), chart.series.end(),
                     [](const ChartSeries& s) { return !s.points.empty(); }) ||
         !chart.references.empty();
}

std::string legend_html(const std::vector<Line>& lines) {
  std::string html = "<p class=\"legend\">";
  for (std::size_t i = 0; i < lines.size(); ++i)
    html += fmt::format("<span><i style=\"background:{}\"></i>{}</span>", series_color(i), escape_html(lines[i].name));
  return html + "</p>\n";
}

std::string charts_html(const std::vector<SweepGroup>& groups, const std::string& default_method) {
  const std::vector<Line> lines = lines_of(groups, default_method);
  const bool bits = judged_by_bits(groups);
  const auto quality = [bits](const SweepGroup& g) {
    return g.over(bits ? &SweepNumbers::bits_per_byte : &SweepNumbers::accuracy);
  };
  const auto flops = [](const SweepGroup& g) { return g.flops_share(); };
  const auto mebibytes = [](const SweepGroup& g) {
    MeanAndDeviation m = g.over(&SweepNumbers::state_bytes);
    return MeanAndDeviation{m.mean / 1048576, m.deviation / 1048576};
  };
  const auto step_ms = [](const SweepGroup& g) { return g.over(&SweepNumbers::step_time_ms); };
  const Chart quality_look{.title = bits ? "Bits per byte" : "Accuracy",
                           .x_label = "sparsity reached, %",
                           .y_label = bits ? "lower is better" : "% correct",
                           .percent = !bits,
                           .x_percent = true};
  Chart quality_by_flops = quality_look;
  quality_by_flops.title += " by cost";
  quality_by_flops.x_label = "FLOPs of a forward pass, % of dense";
  Chart charts[] = {
      chart_of(quality_look, lines, groups, default_method, reached, quality),
      chart_of(
          quality_by_flops, lines, groups, default_method, [&](const SweepGroup& g) { return flops(g).mean; }, quality),
      chart_of({.title = "Effective FLOPs",
                .x_label = "sparsity reached, %",
                .y_label = "forward pass, % of dense",
                .from_zero = true,
                .percent = true,
                .x_percent = true},
               lines, groups, default_method, reached, flops),
      chart_of({.title = "Bytes",
                .x_label = "sparsity reached, %",
                .y_label = "MiB of weights, gradients, optimizer, patterns",
                .from_zero = true,
                .x_percent = true},
               lines, groups, default_method, reached, mebibytes),
      chart_of({.title = "Step time",
                .x_label = "sparsity reached, %",
                .y_label = "milliseconds, as measured",
                .from_zero = true,
                .x_percent = true},
               lines, groups, default_method, reached, step_ms)};
  std::string html;
  for (const Chart& chart : charts)
    if (has_points(chart)) html += render_chart(chart);
  if (html.empty()) return "<p class=\"none\">No run has finished.</p>\n";
  return legend_html(lines) + "<div class=\"charts\">\n" + html + "</div>\n";
}

std::string runs_html(const Sweep& sweep, const std::vector<SweepResult>& results) {
  std::string html =
      "<h2>Runs</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>run</th><th>status</th><th "
      "class=\"n\">accuracy</th>"
      "<th class=\"n\">loss, nats</th><th class=\"n\">sparsity</th><th class=\"n\">step time, "
      "ms</th></tr></thead>\n<tbody>\n";
  const auto cell = [](double value, double scale, int decimals) {
    return fmt::format("<td class=\"n\">{}</td>",
                       std::isfinite(value) ? fmt::format("{:.{}f}", scale * value, decimals) : "");
  };
  for (std::size_t i = 0; i < results.size(); ++i) {
    const SweepResult& r = results[i];
    const std::string label = fmt::format("<code>{}</code>", escape_html(sweep.runs[i].label));
    const std::string link = r.status == "finished" ? fmt::format("<a href=\"{}/report.html\">{}</a>",
                                                                  escape_html(r.directory.generic_string()), label)
                                                    : label;
    html += fmt::format("<tr><td>{}</td><td>{}</td>{}{}{}{}</tr>\n", link,
                        escape_html(r.error.empty() ? r.status : r.status + ": " + r.error),
                        cell(r.numbers.accuracy, 100, 2), cell(r.numbers.loss_nats, 1, 4),
                        cell(r.numbers.sparsity, 100, 2), cell(r.numbers.step_time_ms, 1, 2));
  }
  return html + "</tbody>\n</table></div>\n";
}

}  // namespace

std::string sweep_page(const Sweep& sweep, const std::vector<SweepResult>& results, const std::string& subtitle,
                       const std::vector<std::pair<std::string, std::string>>& sources) {
  const std::vector<SweepGroup> groups = group_runs(sweep, results);
  const std::string method = sweep.runs.empty() ? "" : sweep.runs.front().config.pruning.method;
  std::string html = "<h2>Quality and cost against sparsity</h2>\n";
  html +=
      "<p class=\"note\">Points are means over seeds, bars one standard deviation of the sample to each side; dashed "
      "lines are dense runs.</p>\n";
  html += charts_html(groups, method);
  html += "<h2>Summary</h2>\n<pre>" + escape_html(sweep_table(sweep, groups)) + "</pre>\n" + runs_html(sweep, results);
  for (const auto& [title, text] : sources)
    html += "<details><summary>" + escape_html(title) + "</summary>\n<pre>" + escape_html(text) + "</pre></details>\n";
  return render_page(sweep.config.name, subtitle, html);
}

}  // namespace lacuna
