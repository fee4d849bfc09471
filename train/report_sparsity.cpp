#include "train/report_sparsity.h"

#include <algorithm>
#include <map>
#include <optional>

#include "train/chart.h"
#include "train/heat_map.h"
#include "train/histogram_chart.h"
#include "train/table.h"

namespace lacuna {
namespace {

using Values = std::map<std::string, double>;

// One record, with its numbers by name.
struct Update {
  double step = 0;
  Values values;

  std::optional<double> find(const std::string& key) const {
    const auto it = values.find(key);
    return it == values.end() ? std::nullopt : std::optional(it->second);
  }
};

/// Those records that an update of patterns wrote.
std::vector<Update> updates_of(const std::vector<MetricsRecord>& metrics) {
  std::vector<Update> updates;
  for (const MetricsRecord& record : metrics) {
    Update update{static_cast<double>(record.step), Values(record.values.begin(), record.values.end())};
    if (update.find("prunable_nnz")) updates.push_back(std::move(update));
  }
  return updates;
}

/// In the order of their first appearance, which is the model's.
std::vector<std::string> layers_of(const std::vector<MetricsRecord>& metrics) {
  const std::string prefix = "sparsity/";
  std::vector<std::string> layers;
  for (const MetricsRecord& record : metrics)
    for (const auto& [key, value] : record.values)
      if (key.starts_with(prefix) && std::find(layers.begin(), layers.end(), key.substr(prefix.size())) == layers.end())
        layers.push_back(key.substr(prefix.size()));
  return layers;
}

/// part / (what was stored before the update).
double of_stored(double part, double nnz, double dropped, double grown) {
  const double before = nnz - grown + dropped;
  return before > 0 ? part / before : 0;
}

/// The share of a layer's entries that an update dropped.
std::optional<double> dropped_share(const Update& update, const std::string& layer) {
  const auto dropped = update.find("dropped/" + layer), grown = update.find("grown/" + layer);
  const auto nnz = update.find("nnz/" + layer);
  if (!dropped || !grown || !nnz) return std::nullopt;
  return of_stored(*dropped, *nnz, *dropped, *grown);
}

template <class F>
HeatMap heat_map(const char* title, const char* label, const std::vector<std::string>& layers,
                 const std::vector<Update>& updates, double last_step, const F& value) {
  HeatMap map{.title = title, .value_label = label, .x_last = last_step};
  for (const std::string& layer : layers) {
    HeatRow row{layer, {}};
    for (const Update& update : updates)
      if (const std::optional<double> v = value(update, layer)) row.points.emplace_back(update.step, *v);
    if (!row.points.empty()) map.rows.push_back(std::move(row));
  }
  return map;
}

Chart churn_chart(const std::vector<Update>& updates) {
  Chart chart{.title = "Churn", .y_label = "% of stored entries, per update", .from_zero = true, .percent = true};
  ChartSeries dropped{"dropped", {}}, grown{"grown", {}};
  for (std::size_t i = 1; i < updates.size(); ++i) {  // the first is where counting begins
    const auto nnz = updates[i].find("prunable_nnz"), d = updates[i].find("topology_dropped"),
               g = updates[i].find("topology_grown");
    if (!nnz || !d || !g) continue;
    dropped.points.emplace_back(updates[i].step, of_stored(*d, *nnz, *d, *g));
    grown.points.emplace_back(updates[i].step, of_stored(*g, *nnz, *d, *g));
  }
  if (!dropped.points.empty()) chart.series = {std::move(dropped), std::move(grown)};
  return chart;
}

/// Values that hold until the next update: drawn as steps.
ChartSeries steps_of(const std::string& name, const std::vector<Update>& updates, const std::string& key,
                     double last_step, const std::string& divisor = "") {
  ChartSeries series{name, {}};
  for (const Update& update : updates) {
    auto value = update.find(key);
    if (!divisor.empty() && value) {
      const auto by = update.find(divisor);
      if (!by || *by <= 0) continue;
      *value /= *by;
    }
    if (!value) continue;
    if (!series.points.empty()) series.points.emplace_back(update.step, series.points.back().second);
    series.points.emplace_back(update.step, *value);
  }
  if (!series.points.empty() && series.points.back().first < last_step)
    series.points.emplace_back(last_step, series.points.back().second);
  return series;
}

bool any_positive(const ChartSeries& series) {
  return std::any_of(series.points.begin(), series.points.end(), [](const auto& p) { return p.second > 0; });
}

std::string histograms_html(const std::vector<MetricsRecord>& metrics, const std::vector<std::string>& layers) {
  std::map<std::string, HistogramChart> newest;
  for (const MetricsRecord& record : metrics) {
    const Values values(record.values.begin(), record.values.end());
    for (const Histogram& kept : record.histograms) {
      const std::string prefix = "kept_magnitudes/";
      if (!kept.name.starts_with(prefix)) continue;
      const std::string layer = kept.name.substr(prefix.size());
      const auto dropped = std::find_if(record.histograms.begin(), record.histograms.end(),
                                        [&](const Histogram& h) { return h.name == "dropped_magnitudes/" + layer; });
      if (dropped == record.histograms.end()) continue;
      HistogramChart chart{layer, "step " + format_count(record.step), kept.high, kept.counts, dropped->counts, {}};
      if (const auto threshold = values.find("threshold/" + layer); threshold != values.end())
        chart.threshold = threshold->second;
      newest[layer] = std::move(chart);
    }
  }
  std::string html;
  for (const std::string& layer : layers)
    if (const auto it = newest.find(layer); it != newest.end()) html += render_histogram(it->second);
  if (html.empty()) return "";
  return "<h2>Weight magnitudes</h2>\n<p class=\"note\">Before the newest update with a histogram: what it kept and "
         "what "
         "it dropped. The last bin holds larger weights, too. A threshold is drawn where every kept weight is at least "
         "as "
         "large as every dropped one.</p>\n<div class=\"panels\">\n" +
         html + "</div>\n";
}

}  // namespace

std::string sparsity_html(const std::vector<MetricsRecord>& metrics) {
  const std::vector<Update> updates = updates_of(metrics);
  const std::vector<std::string> layers = layers_of(metrics);
  if (updates.empty() || layers.empty()) return "";
  double last_step = 0;
  for (const MetricsRecord& record : metrics) last_step = std::max(last_step, static_cast<double>(record.step));
  std::string maps, html;
  const auto add_map = [&](const char* title, const char* label, const auto& value, bool percent = true) {
    HeatMap map = heat_map(title, label, layers, updates, last_step, value);
    map.percent = percent;
    if (!map.rows.empty()) maps += render_heat_map(map);
  };
  const auto add_chart = [&](Chart chart, std::vector<ChartSeries> series) {
    for (ChartSeries& s : series)
      if (!s.points.empty()) chart.series.push_back(std::move(s));
    if (!chart.series.empty()) html += render_chart(chart);
  };
  add_map("Sparsity by layer", "% zeros, newest at the right",
          [](const Update& u, const std::string& layer) { return u.find("sparsity/" + layer); });
  if (updates.size() > 1) add_map("Dropped by layer", "% of its entries, per update", dropped_share);
  add_map(
      "FLOPs by layer", "effective, forward, per example",
      [](const Update& u, const std::string& layer) { return u.find("forward_flops/" + layer); }, false);
  add_map("Ever active by layer", "ITOP, % of all entries",
          [](const Update& u, const std::string& layer) { return u.find("itop/" + layer); });
  add_chart(churn_chart(updates), {});
  add_chart({.title = "Ever active", .y_label = "ITOP, % of prunable entries", .from_zero = true, .percent = true},
            {steps_of("ever active", updates, "itop", last_step)});
  add_chart({.title = "Effective FLOPs", .y_label = "forward pass, % of dense", .from_zero = true, .percent = true},
            {steps_of("effective FLOPs", updates, "forward_flops_per_example", last_step,
                      "dense_forward_flops_per_example")});
  const ChartSeries rows = steps_of("rows", updates, "empty_rows", last_step);
  const ChartSeries columns = steps_of("columns", updates, "empty_columns", last_step);
  const bool any_empty = any_positive(rows) || any_positive(columns);
  if (any_empty)
    add_chart({.title = "Dead neurons", .y_label = "empty rows and columns", .from_zero = true}, {rows, columns});
  html = "<h2>Sparsity</h2>\n<div class=\"charts\">\n" + maps + "</div>\n<div class=\"charts\">\n" + html + "</div>\n";
  if (!any_empty) html += "<p class=\"note\">No row or column of a weight was ever empty: no dead neurons.</p>\n";
  return html + histograms_html(metrics, layers);
}

}  // namespace lacuna
