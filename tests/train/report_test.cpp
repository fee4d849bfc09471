#include "train/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

Report example_report() {
  Report report;
  report.title = "transformer <90 % & sparse>";
  report.subtitle = "NVIDIA H100 80GB HBM3, 2025-01-31 12:00 UTC, finished";
  report.results = {{"valid bits per byte", "1.903"},
                    {"sparsity of prunable weights", "90.0 %"},
                    {"median step time", "14.2 ms"},
                    {"training time", "12:31"}};
  report.facts = {{"parameters", "3,214,592 stored of 12,651,776"},
                  {"command", "lacuna train configs/text.yaml optimizer.lr=0.001"},
                  {"seed", "1"}};
  double wobble = 0;
  for (int step = 10; step <= 20000; step += 10) {
    wobble = std::sin(step * 12.9898) * 43758.5453;
    wobble -= std::floor(wobble) + 0.5;
    const double t = step / 20000.0, ramp = std::min(1.0, std::max(0.0, (t - 0.1) / 0.6));
    report.metrics.push_back(
        {step,
         {{"train_loss_nats", 1.2 + 3.6 * std::exp(-9 * t) + 0.12 * wobble + 0.1 * ramp},
          {"learning_rate", t < 0.05 ? 1e-3 * t / 0.05 : 5e-4 * (1 + std::cos(3.14159 * (t - 0.05) / 0.95))},
          {"sparsity", 0.9 * (1 - std::pow(1 - ramp, 3))},
          {"gradient_norm", 1 + 0.4 * wobble + (step == 500 ? 60 : 0)},
          {"step_time_ms", 14 + wobble - 5 * ramp + (step == 10 ? 900 : 0)},
          {"data_wait_ms", 0.2 + 0.1 * wobble},
          {"tokens_per_second", 16384 / (0.014 + wobble * 1e-3 - 0.005 * ramp)},
          {"memory_peak_bytes", 2.1e9},
          {"memory_live_bytes", 1.5e9 - 9e8 * ramp}}});
    if (step % 1000 == 0) {
      const double loss = 1.3 + 3.5 * std::exp(-9 * t) + 0.1 * ramp;
      report.metrics.push_back({step,
                                {{"valid_loss_nats", loss},
                                 {"valid_bits_per_byte", loss / std::log(2.0)},
                                 {"valid_accuracy", 0.65 - 0.5 * std::exp(-9 * t)}}});
    }
  }
  report.layers = {{"embedding.weight", "[256, 512]", 131072, 131072, false, 2097152}};
  for (int i = 0; i < 3; ++i) {
    for (const char* name : {"query", "key", "value", "output"}) {
      report.layers.push_back({"blocks." + std::to_string(i) + ".attention." + name + ".weight", "[512, 512]", 262144,
                               26214, true, 632000});
    }
    report.layers.push_back({"blocks." + std::to_string(i) + ".norm.gain", "[512]", 512, 512, false, 8192});
  }
  report.config_text = "model:\n  kind: transformer  # <script>alert(1)</script>\n  hidden: 512\n";
  return report;
}

TEST(Report, IsSelfContainedAndEscaped) {
  const std::string html = render_report(example_report());
  for (const char* outside : {"http:", "https:", "<script", "<link", "<img", "@import", "url("})
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
  EXPECT_NE(html.find("transformer &lt;90 % &amp; sparse&gt;"), std::string::npos);
  EXPECT_NE(html.find("&lt;script&gt;"), std::string::npos);
  for (const char* title : {"Loss", "Bits per byte", "Accuracy", "Learning rate", "Sparsity", "Step time", "Throughput",
                            "Gradient norm", "Memory"}) {
    EXPECT_NE(html.find(std::string("class=\"title\">") + title + "<"), std::string::npos) << title;
  }
  EXPECT_NE(html.find("blocks.2.attention.output.weight"), std::string::npos);
  EXPECT_LT(html.size(), 600000u);
}

// Two layers over three updates, as TopologyUpdate::record names them.
std::vector<MetricsRecord> topology_records() {
  std::vector<MetricsRecord> records;
  for (int i = 0; i < 3; ++i) {
    MetricsRecord r{100 * i + 1,
                    {{"prunable_nnz", 200 - 50 * i},
                     {"topology_dropped", 50.0 * (i > 0)},
                     {"topology_grown", 0},
                     {"empty_rows", i},
                     {"empty_columns", 0},
                     {"itop", 1},
                     {"forward_flops_per_example", 400 - 100 * i},
                     {"dense_forward_flops_per_example", 400}}};
    for (const char* layer : {"first<0>.weight", "second.weight"}) {
      const std::string name = layer;
      r.values.insert(r.values.end(), {{"nnz/" + name, 100 - 25 * i},
                                       {"sparsity/" + name, 0.25 * i},
                                       {"dropped/" + name, 25.0 * (i > 0)},
                                       {"grown/" + name, 0},
                                       {"forward_flops/" + name, 200 - 50 * i},
                                       {"itop/" + name, 1},
                                       {"threshold/" + name, 0.01 * i}});
      r.histograms.push_back({"kept_magnitudes/" + name, 0, 0.5, {0, 3, 2}});
      r.histograms.push_back({"dropped_magnitudes/" + name, 0, 0.5, {1, 0, 0}});
    }
    records.push_back(r);
  }
  return records;
}

TEST(Report, ShowsHowPatternsCameAbout) {
  const std::string html = render_report({.title = "x", .metrics = topology_records()});
  for (const char* title : {"Sparsity by layer", "Dropped by layer", "FLOPs by layer", "Ever active by layer", "Churn",
                            "Ever active", "Effective FLOPs", "Dead neurons"})
    EXPECT_NE(html.find(std::string("class=\"title\">") + title + "<"), std::string::npos) << title;
  EXPECT_NE(html.find("first&lt;0&gt;.weight, from step 101: 25.0 %"), std::string::npos);
  EXPECT_NE(html.find("threshold 0.02"), std::string::npos);  // of the newest update
  EXPECT_EQ(html.find("threshold 0.01"), std::string::npos);
  EXPECT_EQ(html.find("first<0>"), std::string::npos);
  EXPECT_EQ(render_report({.title = "x"}).find("<h2>Sparsity</h2>"), std::string::npos);
}

TEST(Report, OfARunWithoutMetrics) {
  const std::string html = render_report({.title = "x"});
  EXPECT_NE(html.find("No metrics were recorded"), std::string::npos);
  EXPECT_EQ(html.find("<table"), std::string::npos);
}

TEST(Report, LayerRowsComeFromParameters) {
  const SmallModel model = SmallModel::trained();
  const std::vector<LayerRow> rows = layer_rows(model.parameters, 2);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].shape, "[3, 4]");
  EXPECT_EQ(rows[0].size, 12);
  EXPECT_EQ(rows[0].nnz, 5);
  EXPECT_TRUE(rows[0].is_sparse);
  EXPECT_NEAR(rows[0].sparsity(), 7.0 / 12, 1e-12);
  EXPECT_EQ(rows[0].bytes, 4 * 5 * 4u + model.parameters[0]->topology_bytes());  // value, gradient, two slots
  EXPECT_GE(model.parameters[0]->topology_bytes(), 9 * 4u);
  const std::string table = layer_table(rows);
  EXPECT_NE(table.find("58.33 %"), std::string::npos) << table;
  EXPECT_NE(table.find("total"), std::string::npos) << table;
}

TEST(Report, WritesTheFile) {
  TemporaryDirectory directory;
  write_report(directory / "report.html", example_report());
  EXPECT_EQ(slurp(directory / "report.html"), render_report(example_report()));
}

// For looking at: LACUNA_SAMPLE_REPORT=/tmp/report.html.
TEST(Report, DISABLED_WriteSample) {
  const char* path = std::getenv("LACUNA_SAMPLE_REPORT");
  ASSERT_NE(path, nullptr);
  write_report(path, example_report());
}

}  // namespace
}  // namespace lacuna
