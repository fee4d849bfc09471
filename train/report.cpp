#include "train/report.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/atomic_file.h"
#include "train/chart.h"
#include "train/report_page.h"
#include "train/report_sparsity.h"
#include "train/table.h"

namespace lacuna {
namespace {

struct SeriesName {
  const char* key;   // in the metrics
  const char* name;  // in the legend
};

struct ChartPlan {
  Chart look;
  std::vector<SeriesName> series;
  double scale = 1;  // from the metric's unit to the axis'
};

std::vector<ChartPlan> known_charts() {
  return {
      {{.title = "Loss", .y_label = "cross entropy, nats", .smooth = true},
       {{"train_loss_nats", "training"},
        {"eval_loss_nats", "evaluation"},
        {"valid_loss_nats", "validation"},
        {"test_loss_nats", "test"}}},
      {{.title = "Bits per byte", .y_label = ""},
       {{"train_bits_per_byte", "training"},
        {"eval_bits_per_byte", "evaluation"},
        {"valid_bits_per_byte", "validation"},
        {"test_bits_per_byte", "test"}}},
      {{.title = "Accuracy", .y_label = "% correct", .percent = true, .smooth = true},
       {{"train_accuracy", "training"},
        {"eval_accuracy", "evaluation"},
        {"valid_accuracy", "validation"},
        {"test_accuracy", "test"}}},
      {{.title = "Learning rate", .y_label = "", .from_zero = true}, {{"learning_rate", "learning rate"}}},
      {{.title = "Sparsity", .y_label = "% zeros in prunable weights", .from_zero = true, .percent = true},
       {{"sparsity", "reached"}, {"target_sparsity", "scheduled"}}},
      {{.title = "Gradient norm", .y_label = "L2 norm", .from_zero = true, .hide_outliers = true, .smooth = true},
       {{"gradient_norm", "gradient norm"}}},
      {{.title = "Step time", .y_label = "milliseconds", .from_zero = true, .hide_outliers = true, .smooth = true},
       {{"step_time_ms", "whole step"}, {"data_wait_ms", "of it waiting for data"}}},
      {{.title = "Throughput", .y_label = "per second", .from_zero = true, .hide_outliers = true, .smooth = true},
       {{"tokens_per_second", "tokens"}, {"images_per_second", "images"}}},
      {{.title = "Memory", .y_label = "MiB", .from_zero = true},
       {{"memory_peak_bytes", "peak"}, {"memory_live_bytes", "live"}},
       1.0 / 1048576},
  };
}

std::vector<std::pair<double, double>> points_of(const std::vector<MetricsRecord>& metrics, const std::string& key,
                                                 double scale) {
  std::vector<std::pair<double, double>> points;
  for (const MetricsRecord& record : metrics) {
    for (const auto& [name, value] : record.values) {
      if (name == key) points.emplace_back(static_cast<double>(record.step), scale * value);
    }
  }
  return points;
}

std::string charts_html(const std::vector<MetricsRecord>& metrics) {
  std::string html;
  for (ChartPlan& plan : known_charts()) {
    for (const SeriesName& series : plan.series) {
      auto points = points_of(metrics, series.key, plan.scale);
      if (!points.empty()) plan.look.series.push_back({series.name, std::move(points)});
    }
    if (!plan.look.series.empty()) html += render_chart(plan.look);
  }
  return html.empty() ? "<p class=\"none\">No metrics were recorded.</p>\n"
                      : "<div class=\"charts\">\n" + html + "</div>\n";
}

LayerRow total_of(const std::vector<LayerRow>& rows) {
  LayerRow total;
  total.name = "total";
  for (const LayerRow& row : rows) {
    total.size += row.size;
    total.nnz += row.nnz;
    total.bytes += row.bytes;
  }
  return total;
}

std::string row_html(const LayerRow& row, bool is_total) {
  const double percent = 100 * row.sparsity();
  return fmt::format(
      "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>"
      "<td><span class=\"bar\"><i style=\"width:{:.1f}%\"></i></span>{:.2f} %</td><td class=\"n\">{}</td></tr>\n",
      escape_html(row.name), escape_html(row.shape),
      is_total        ? ""
      : row.is_sparse ? "CSR"
                      : "dense",
      format_count(row.size), format_count(row.nnz), percent, percent, format_bytes(static_cast<double>(row.bytes)));
}

std::string layers_html(const std::vector<LayerRow>& rows) {
  if (rows.empty()) return "";
  std::string html =
      "<h2>Layers</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>parameter</th><th>shape</th><th>stored</th><th "
      "class=\"n\">entries</th>"
      "<th class=\"n\">nnz</th><th>sparsity</th><th class=\"n\">bytes with state</th></tr></thead>\n<tbody>\n";
  for (const LayerRow& row : rows) html += row_html(row, false);
  return html + "</tbody>\n<tfoot>" + row_html(total_of(rows), true) + "</tfoot>\n</table></div>\n";
}

}  // namespace

std::vector<LayerRow> layer_rows(const std::vector<Parameter*>& parameters, int num_slots) {
  std::vector<LayerRow> rows;
  for (const Parameter* p : parameters) {
    rows.push_back({p->name(), to_string(p->shape()), p->shape().numel(), p->nnz(), p->is_sparse(),
                    p->value().nbytes() * static_cast<std::size_t>(2 + num_slots) + p->topology_bytes()});
  }
  return rows;
}

std::string layer_table(const std::vector<LayerRow>& rows) {
  Table table({{"parameter"},
               {"shape"},
               {"stored"},
               {"entries", Align::right},
               {"nnz", Align::right},
               {"sparsity", Align::right},
               {"bytes with state", Align::right}});
  const auto add = [&](const LayerRow& row, const char* stored) {
    table.add_row({row.name, row.shape, stored, format_count(row.size), format_count(row.nnz),
                   format_percent(row.sparsity(), 2), format_bytes(static_cast<double>(row.bytes))});
  };
  for (const LayerRow& row : rows) add(row, row.is_sparse ? "CSR" : "dense");
  table.add_rule();
  add(total_of(rows), "");
  return table.text();
}

std::string results_html(const std::vector<std::pair<std::string, std::string>>& results) {
  if (results.empty()) return "";
  std::string html = "<div class=\"results\">\n";
  for (const auto& [label, value] : results) {
    html +=
        fmt::format("<div class=\"result\"><b>{}</b><span>{}</span></div>\n", escape_html(value), escape_html(label));
  }
  return html + "</div>\n";
}

std::string facts_html(const std::vector<std::pair<std::string, std::string>>& facts) {
  if (facts.empty()) return "";
  std::string html = "<dl>\n";
  for (const auto& [label, value] : facts)
    html += fmt::format("<dt>{}</dt><dd>{}</dd>\n", escape_html(label), escape_html(value));
  return html + "</dl>\n";
}

std::string render_report(const Report& report) {
  std::string body = results_html(report.results) + facts_html(report.facts) + "<h2>Curves</h2>\n" +
                     charts_html(report.metrics) + sparsity_html(report.metrics) + layers_html(report.layers);
  if (!report.config_text.empty()) {
    body += "<details><summary>Configuration</summary>\n<pre>" + escape_html(report.config_text) + "</pre></details>\n";
  }
  return render_page(report.title, report.subtitle, body);
}

void write_report(const std::filesystem::path& path, const Report& report) {
  write_file_atomically(path, render_report(report));
}

}  // namespace lacuna
