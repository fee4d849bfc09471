#include "train/heat_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "train/chart.h"
#include "train/svg.h"
#include "train/table.h"

namespace lacuna {
namespace {

constexpr double kWidth = 680, kTop = 42, kBottom = 46, kRight = 66, kRowHeight = 17;
constexpr double kLetter = 6.2;          // about the width of a letter
constexpr std::size_t kMaxLetters = 34;  // of a row's name
constexpr std::size_t kMaxCells = 240;   // of a row

// Single-hue ramp whose ends stand out from light and from dark paper alike.
constexpr std::array<std::array<double, 3>, 4> kRamp{{{222, 233, 246}, {126, 172, 222}, {46, 104, 178}, {16, 48, 98}}};

std::string color_of(double fraction) {
  const double place = std::clamp(fraction, 0.0, 1.0) * (kRamp.size() - 1);
  const auto i = std::min(static_cast<std::size_t>(place), kRamp.size() - 2);
  const double f = place - static_cast<double>(i);
  std::array<int, 3> c{};
  for (std::size_t k = 0; k < 3; ++k) c[k] = static_cast<int>(std::lround(kRamp[i][k] * (1 - f) + kRamp[i + 1][k] * f));
  return fmt::format("#{:02x}{:02x}{:02x}", c[0], c[1], c[2]);
}

struct Frame {
  double left = 0, x_low = 0, x_high = 1, largest = 1;
  double x(double step) const { return left + (step - x_low) / (x_high - x_low) * (kWidth - kRight - left); }
  bool percent = true;
  std::string value(double v) const {
    return percent ? fmt::format("{:.{}f} %", 100 * v, largest < 0.1 ? 2 : 1) : format_si(v);
  }
};

Frame fit(const HeatMap& map) {
  Frame frame;
  std::size_t letters = 4;
  double first = INFINITY, last = map.x_last;
  frame.largest = 0;
  for (const HeatRow& row : map.rows) {
    letters = std::max(letters, std::min(row.name.size(), kMaxLetters));
    for (const auto& [x, y] : row.points) {
      first = std::min(first, x);
      last = std::max(last, x);
      if (std::isfinite(y)) frame.largest = std::max(frame.largest, y);
    }
  }
  frame.left = 18 + kLetter * static_cast<double>(letters) + 10;
  frame.x_low = std::isfinite(first) && first >= 0.1 * last ? first : 0;
  frame.x_high = last > frame.x_low ? last : frame.x_low + 1;
  frame.percent = map.percent;
  return frame;
}

std::string draw_row(const HeatMap& map, const HeatRow& row, const Frame& frame, double y) {
  std::string svg = svg::text(frame.left - 8, y + 12.5, "end", "tick", svg::shortened(row.name, kMaxLetters));
  const double pixel = (kWidth - kRight - frame.left) / kMaxCells;
  double last_value = NAN;
  for (std::size_t i = 0; i < row.points.size();) {
    // One cell: all that begins within a pixel of its left edge, and all that follows with the same value.
    const double begin = frame.x(row.points[i].first);
    std::size_t end = i + 1;
    last_value = row.points[i].second;
    while (end < row.points.size() &&
           (row.points[end].second == last_value || frame.x(row.points[end].first) < begin + pixel))
      last_value = row.points[end++].second;
    const double until = end < row.points.size() ? frame.x(row.points[end].first) : frame.x(frame.x_high);
    if (std::isfinite(last_value) && until > begin)
      svg += fmt::format(
                 R"(<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"><title>{}</title></rect>)",
                 begin, y, until - begin, kRowHeight - 1, color_of(frame.largest > 0 ? last_value / frame.largest : 0),
                 escape_html(fmt::format("{}, from {} {}: {}", row.name, map.x_label, row.points[i].first,
                                         frame.value(last_value)))) +
             "\n";
    i = end;
  }
  if (std::isfinite(last_value))
    svg += svg::text(kWidth - kRight + 8, y + 12.5, "start", "tick", frame.value(last_value));
  return svg;
}

// From 0 to the largest value, at the right above the rows.
std::string draw_scale(const Frame& frame) {
  constexpr double kSteps = 40, kBar = 120;
  const double right = kWidth - 74;
  std::string svg = svg::text(right - kBar - 6, 21, "end", "tick", "0");
  for (int i = 0; i < kSteps; ++i)
    svg += fmt::format(R"(<rect x="{:.1f}" y="12" width="{:.1f}" height="10" fill="{}"/>)",
                       right - kBar + kBar / kSteps * i, kBar / kSteps + 0.3, color_of((i + 0.5) / kSteps));
  return svg + "\n" + svg::text(right + 6, 21, "start", "tick", frame.value(frame.largest));
}

}  // namespace

std::string render_heat_map(const HeatMap& map) {
  const Frame frame = fit(map);
  const double bottom = kTop + kRowHeight * static_cast<double>(map.rows.size()), height = bottom + kBottom;
  std::string svg = svg::open(kWidth, height, map.title) + svg::title(map.title, map.value_label) + draw_scale(frame);
  for (std::size_t i = 0; i < map.rows.size(); ++i)
    svg += draw_row(map, map.rows[i], frame, kTop + kRowHeight * static_cast<double>(i));
  const Ticks ticks = nice_ticks(frame.x_low, frame.x_high, 6);
  for (int i = 0; i < ticks.count; ++i) {
    const double value = ticks.first + ticks.step * i;
    if (value < frame.x_low || value > frame.x_high * (1 + 1e-12)) continue;
    svg += svg::line(frame.x(value), bottom + 2, frame.x(value), bottom + 7, "axis");
    svg += svg::text(frame.x(value), bottom + 20, "middle", "tick", tick_label(value, ticks.step, frame.x_high));
  }
  svg += svg::line(frame.left, bottom + 2, kWidth - kRight, bottom + 2, "axis");
  svg += svg::text((frame.left + kWidth - kRight) / 2, height - 8, "middle", "label", map.x_label);
  return svg + "</svg>\n";
}

}  // namespace lacuna
