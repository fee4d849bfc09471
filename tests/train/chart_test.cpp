#include "train/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "train/heat_map.h"
#include "train/histogram_chart.h"

namespace lacuna {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

TEST(NiceTicks, AreRoundAndCover) {
  for (double low : {-1000.0, -0.3, 0.0, 1e-9, 0.93, 17.0, 1e6}) {
    for (double span : {1e-7, 0.013, 0.5, 1.0, 42.0, 1e5, 3e9}) {
      const double high = low + span;
      const Ticks ticks = nice_ticks(low, high, 5);
      EXPECT_LE(ticks.first, low + 1e-6 * span);
      EXPECT_GE(ticks.last(), high - 1e-6 * span);
      EXPECT_GE(ticks.count, 3) << low << " " << span;
      EXPECT_LE(ticks.count, 10) << low << " " << span;
      const double mantissa = ticks.step / std::pow(10.0, std::floor(std::log10(ticks.step) + 1e-9));
      EXPECT_TRUE(std::abs(mantissa - 1) < 1e-6 || std::abs(mantissa - 2) < 1e-6 || std::abs(mantissa - 5) < 1e-6) << mantissa;
    }
  }
  const Ticks flat = nice_ticks(3, 3, 5);
  EXPECT_LT(flat.first, 3);
  EXPECT_GT(flat.last(), 3);
}

TEST(TickLabel, HasTheDigitsOfItsStep) {
  EXPECT_EQ(tick_label(0.25, 0.05, 1), "0.25");
  EXPECT_EQ(tick_label(0.3, 0.1, 1), "0.3");
  EXPECT_EQ(tick_label(100, 50, 300), "100");
  EXPECT_EQ(tick_label(1500, 500, 2000), "1500");
  EXPECT_EQ(tick_label(2000, 2000, 20000), "2 k") << "as its neighbour 20 k";
  EXPECT_EQ(tick_label(0, 2000, 20000), "0");
  EXPECT_EQ(tick_label(12500, 500, 15000), "12.5 k");
  EXPECT_EQ(tick_label(2e6, 5e5, 2e6), "2.0 M");
  EXPECT_EQ(tick_label(2e-5, 1e-5, 4e-5), "2e-5");
  EXPECT_EQ(tick_label(1e-17, 0.1, 1), "0");
  EXPECT_EQ(tick_label(-2, 1, 2), "-2");
}

TEST(Chart, DrawsEverySeriesAndBreaksAtGaps) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  Chart chart{.title = "Loss <&>", .y_label = "nats"};
  chart.series = {{"training", {{1, 3}, {2, nan}, {3, 2}, {4, 1.5}}}, {"evaluation", {{2, 2.5}, {4, 2}}}};
  const std::string svg = render_chart(chart);
  EXPECT_EQ(count(svg, "<path"), 2u);
  EXPECT_EQ(count(svg, "<circle"), 5u) << "one for each number";
  EXPECT_EQ(count(svg, "<svg"), count(svg, "</svg>"));
  EXPECT_NE(svg.find("Loss &lt;&amp;&gt;"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg.find(">evaluation</text>"), std::string::npos);
  const std::string path = svg.substr(svg.find("<path d=\"") + 9);
  EXPECT_EQ(count(path.substr(0, path.find('"')), "M"), 2u) << "the gap splits the line";
}

TEST(Chart, SurvivesDegenerateInput) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), inf = std::numeric_limits<double>::infinity();
  const std::vector<std::vector<std::pair<double, double>>> inputs{
      {}, {{5, 1}}, {{5, nan}}, {{5, inf}, {6, -inf}}, {{0, 0}, {1, 0}}, {{0, 1e308}, {1, 1e307}}, {{0, 1e-300}, {1, 2e-300}}, {{0, -5}, {1, -5}},
      {{0, -1e308}, {1, 1e308}}, {{0, 5e-324}, {1, 0}}, {{0, 1e15}, {1, 1e15 + 0.125}}, {{0, 1e6}, {1, 1e6 + 1e-9}}, {{-1e308, 1}, {1e308, 2}}};
  for (const auto& points : inputs) {
    for (bool flag : {false, true}) {
      Chart chart{.title = "t", .from_zero = flag, .percent = flag, .hide_outliers = flag, .smooth = flag};
      chart.series = {{"s", points}};
      const std::string svg = render_chart(chart);
      EXPECT_LT(svg.size(), 20000u);
      EXPECT_EQ(svg.find("nan"), std::string::npos);
      EXPECT_EQ(svg.find("\"inf"), std::string::npos);
    }
  }
}

TEST(Chart, OneRecordStandsAtTheEndOfItsSteps) {
  Chart chart{.title = "Bits per byte"};
  chart.series = {{"validation", {{700, 3.4}}}, {"test", {{700, 3.3}}}};
  const std::string svg = render_chart(chart);
  EXPECT_NE(svg.find(">700</text>"), std::string::npos) << svg;
  EXPECT_EQ(svg.find("700."), std::string::npos) << "no part of a step";
}

TEST(Chart, ThinsLongSeriesButKeepsExtremes) {
  Chart chart{.title = "t"};
  ChartSeries series{"s", {}};
  for (int i = 0; i < 200000; ++i) series.points.emplace_back(i, i == 123457 ? 9.0 : std::sin(i));
  chart.series = {series};
  const std::string svg = render_chart(chart);
  EXPECT_LT(svg.size(), 40000u);
  // The axis is [-2, 10] over 208 units that end at 254, so the spike at 9 is drawn at 63.3.
  EXPECT_NE(svg.find(" 63.3L"), std::string::npos) << "the spike was thinned away";
}

TEST(Chart, CutsOutliersAndSaysSo) {
  Chart chart{.title = "t", .from_zero = true, .hide_outliers = true};
  ChartSeries series{"s", {}};
  for (int i = 0; i < 200; ++i) series.points.emplace_back(i, i == 0 ? 5000.0 : 10.0 + i % 3);
  chart.series = {series};
  EXPECT_NE(render_chart(chart).find("1 point above the axis"), std::string::npos);
}

TEST(Chart, CutsNothingOfAFewPoints) {
  Chart chart{.title = "t", .from_zero = true, .hide_outliers = true};
  chart.series = {{"throughput", {{12, 1100.0}, {16, 1000.0}, {20, 1950.0}, {24, 3300.0}}}};
  EXPECT_EQ(render_chart(chart).find("above the axis"), std::string::npos);
}

TEST(Chart, ErrorBarsReferencesAndShares) {
  Chart chart{.title = "Accuracy", .percent = true, .x_percent = true};
  chart.series = {{"a", {{0.8, 0.99}, {0.9, 0.95}}, {0.02, std::nan("")}}};
  chart.references = {{"dense <1>", 1.0}};
  const std::string svg = render_chart(chart);
  EXPECT_EQ(count(svg, "stroke-width=\"1.3\""), 1u);  // the point without a deviation has no bar
  EXPECT_NE(svg.find("± 2 %"), std::string::npos) << svg;
  EXPECT_NE(svg.find("class=\"reference\""), std::string::npos);
  EXPECT_NE(svg.find("dense &lt;1&gt;"), std::string::npos);
  EXPECT_NE(svg.find(">100</text>"), std::string::npos);
  EXPECT_EQ(svg.find(">101</text>"), std::string::npos);  // a share ends at 100 %
  EXPECT_EQ(svg.find(">102</text>"), std::string::npos);
  EXPECT_NE(svg.find(">80</text>"), std::string::npos);  // x in percent
  EXPECT_EQ(svg.find("above the axis"), std::string::npos);
}

TEST(HeatMap, ValuesHoldUntilTheNext) {
  HeatMap map{.title = "Sparsity by layer", .value_label = "%", .x_last = 100};
  map.rows = {{"a<b", {{0, 0.0}, {50, 0.5}, {60, 0.5}, {75, 1.0}}}, {"empty", {}}, {"gap", {{0, std::nan("")}, {50, 0.25}}}};
  const std::string svg = render_heat_map(map);
  EXPECT_EQ(count(svg, "<title>a&lt;b, from step"), 3u);  // equal neighbours are one cell
  EXPECT_NE(svg.find("from step 50: 50.0 %"), std::string::npos) << svg;
  EXPECT_EQ(count(svg, "<title>gap, from step"), 1u);
  EXPECT_NE(svg.find(">100.0 %</text>"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
}

TEST(HeatMap, LongRowsAreThinned) {
  HeatMap map{.title = "x", .x_last = 100000};
  HeatRow row{"a_name_that_is_longer_than_there_is_room_for.weight", {}};
  for (int i = 0; i < 100000; ++i) row.points.emplace_back(i, (i % 7) / 7.0);
  map.rows = {row};
  const std::string svg = render_heat_map(map);
  EXPECT_LE(count(svg, "<title>"), 260u);
  EXPECT_NE(svg.find("\u2026"), std::string::npos);
  EXPECT_NE(svg.find("room_for.weight</text>"), std::string::npos);
  EXPECT_NE(render_heat_map({.title = "none"}).find("</svg>"), std::string::npos);
}

TEST(HistogramChart, BarsStandOnEachOther) {
  const std::string svg = render_histogram({"w", "step 7", 1.0, {0, 2, 4}, {3, 1, 0}, 0.4});
  EXPECT_EQ(count(svg, "fill=\"#2563b8\"/>"), 3u);  // two bars and the legend's square
  EXPECT_EQ(count(svg, "fill=\"#d9590f\"/>"), 3u);
  EXPECT_EQ(count(svg, "class=\"threshold\""), 2u);
  EXPECT_NE(svg.find("threshold 0.4"), std::string::npos);
  EXPECT_EQ(count(render_histogram({"w", "", 0, {}, {}, {}}), "class=\"threshold\""), 0u);
}

TEST(EscapeHtml, AllFive) { EXPECT_EQ(escape_html("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;"); }

}  // namespace
}  // namespace lacuna
