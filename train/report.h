// report.html: what a run was and what came out, in one file that opens offline.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/parameter.h"
#include "train/metrics.h"

namespace lacuna {

/// A line of the layer table, in report.html and on the console.
struct LayerRow {
  std::string name;
  std::string shape;      ///< "[512, 512]"
  std::int64_t size = 0;  ///< entries of the full shape
  std::int64_t nnz = 0;   ///< entries stored
  bool is_sparse = false;
  std::size_t bytes = 0;  ///< values, gradient, optimizer state and pattern
  double sparsity() const { return size == 0 ? 0 : 1 - static_cast<double>(nnz) / static_cast<double>(size); }
};
/// One row for each parameter, as it is stored now. Its bytes are those of training, whether that has begun or not: values,
/// gradient, `num_slots` arrays beside them (optimizer, averages) and what there is of the pattern.
std::vector<LayerRow> layer_rows(const std::vector<Parameter*>& parameters, int num_slots);
/// Plain text with a total below.
std::string layer_table(const std::vector<LayerRow>& rows);

struct Report {
  std::string title;                                         ///< the configuration's name
  std::string subtitle;                                      ///< "NVIDIA H100, 2025-01-31 12:00 UTC"
  std::vector<std::pair<std::string, std::string>> results;  ///< big: label, value ("eval bits per byte", "1.903")
  std::vector<std::pair<std::string, std::string>> facts;    ///< small: label, value ("parameters", "12,345,678")
  std::vector<MetricsRecord> metrics;
  std::vector<LayerRow> layers;
  std::string config_text;  ///< the resolved configuration
};

/// Parts of a page (render_page of report_page.h): big numbers with labels, and a list of small ones; "" when there are none.
std::string results_html(const std::vector<std::pair<std::string, std::string>>& results);
std::string facts_html(const std::vector<std::pair<std::string, std::string>>& facts);

/// Charts of the well-known metrics that occur, with <split> one of train, eval, valid, test: <split>_loss_nats,
/// <split>_bits_per_byte, <split>_accuracy, learning_rate, sparsity, target_sparsity, gradient_norm, step_time_ms,
/// data_wait_ms, tokens_per_second, images_per_second, memory_peak_bytes, memory_live_bytes.
std::string render_report(const Report& report);

/// Renders and writes atomically. Throws Error.
void write_report(const std::filesystem::path& path, const Report& report);

}  // namespace lacuna
