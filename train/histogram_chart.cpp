#include "train/histogram_chart.h"

#include <fmt/format.h>

#include <algorithm>

#include "train/chart.h"
#include "train/svg.h"

namespace lacuna {
namespace {

constexpr double kWidth = 400, kHeight = 216, kLeft = 50, kRight = 16, kTop = 48, kBottom = 42;
constexpr const char* kKept = "#2563b8";
constexpr const char* kDropped = "#d9590f";

std::string bar(double x, double y, double width, double height, const char* color) {
  return fmt::format(R"(<rect x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}" fill="{}"/>)", x, y, width, height,
                     color) +
         "\n";
}

std::string legend(const HistogramChart& chart) {
  std::string svg = fmt::format(R"(<rect x="18" y="28" width="9" height="9" fill="{}"/>)", kKept) +
                    svg::text(31, 36.5, "start", "tick", "kept") +
                    fmt::format(R"(<rect x="66" y="28" width="9" height="9" fill="{}"/>)", kDropped) +
                    svg::text(79, 36.5, "start", "tick", "dropped");
  if (chart.threshold)
    svg += svg::line(140, 27, 140, 38, "threshold") +
           svg::text(146, 36.5, "start", "tick", fmt::format("threshold {:.3g}", *chart.threshold));
  return svg + svg::text(kWidth - kRight, 36.5, "end", "tick", chart.label);
}

}  // namespace

std::string render_histogram(const HistogramChart& chart) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  double tallest = 0;
  const std::size_t bins = std::min(chart.kept.size(), chart.dropped.size());
  for (std::size_t i = 0; i < bins; ++i) tallest = std::max(tallest, chart.kept[i] + chart.dropped[i]);
  const Ticks y_ticks = nice_ticks(0, std::max(tallest, 1.0), 3);
  const double high = chart.high > 0 ? chart.high : 1;
  const auto x = [&](double value) { return kLeft + value / high * (right - kLeft); };
  const auto y = [&](double value) { return bottom - value / y_ticks.last() * (bottom - kTop); };

  std::string svg = svg::open(kWidth, kHeight, "Weight magnitudes of " + chart.title);
  svg += fmt::format(R"(<text x="18" y="19" class="title">{}<title>{}</title></text>)",
                     escape_html(svg::shortened(chart.title, 42)), escape_html(chart.title)) +
         "\n" + legend(chart);
  for (int i = 0; i < y_ticks.count; ++i) {
    const double value = y_ticks.first + y_ticks.step * i;
    svg += svg::line(kLeft, y(value), right, y(value), "grid");
    svg += svg::text(kLeft - 6, y(value) + 4, "end", "tick", tick_label(value, y_ticks.step, y_ticks.last()));
  }
  const double width = (right - kLeft) / static_cast<double>(std::max<std::size_t>(bins, 1));
  for (std::size_t i = 0; i < bins; ++i) {
    const double at = kLeft + width * static_cast<double>(i), kept = y(chart.kept[i]);
    const double both = y(chart.kept[i] + chart.dropped[i]);
    if (chart.kept[i] > 0) svg += bar(at + 0.4, kept, width - 0.8, bottom - kept, kKept);
    if (chart.dropped[i] > 0) svg += bar(at + 0.4, both, width - 0.8, kept - both, kDropped);
  }
  const Ticks x_ticks = nice_ticks(0, high, 4);
  for (int i = 0; i < x_ticks.count; ++i) {
    const double value = x_ticks.first + x_ticks.step * i;
    if (value > high * (1 + 1e-12)) continue;
    svg += svg::line(x(value), bottom, x(value), bottom + 4, "axis");
    svg += svg::text(x(value), bottom + 16, "middle", "tick", tick_label(value, x_ticks.step, high));
  }
  svg += svg::line(kLeft, bottom, right, bottom, "axis");
  if (chart.threshold && *chart.threshold <= high)
    svg += svg::line(x(*chart.threshold), kTop - 4, x(*chart.threshold), bottom, "threshold");
  svg += svg::text((kLeft + right) / 2, kHeight - 8, "middle", "tick", "magnitude of weights (entries per bin)");
  return svg + "</svg>\n";
}

}  // namespace lacuna
