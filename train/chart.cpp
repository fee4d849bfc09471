#include "train/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <iterator>

#include "train/svg.h"

namespace lacuna {
namespace {

using Point = std::pair<double, double>;
using svg::line;
using svg::text;

constexpr double kWidth = 680, kHeight = 300;  // of the picture, in its own units
constexpr double kLeft = 62, kRight = 24, kTop = 46, kBottom = 46;
constexpr std::size_t kMaxPoints = 1200;  // drawn per series
constexpr std::size_t kMaxMarkers = 60;   // longer series are lines without markers
constexpr std::size_t kSmoothFrom = 120;  // shorter series are not smoothed
constexpr std::array<const char*, 10> kColors{"#2563b8", "#d9590f", "#2b8a3e", "#8a3fa0", "#b8860b",
                                              "#5c6670", "#0e8a94", "#c2356e", "#7a5230", "#6f8f1f"};

/// Finite, with room for arithmetic on it.
bool drawable(const Point& p) { return std::abs(p.first) < 1e300 && std::abs(p.second) < 1e300; }

/// Of each stretch of points the lowest and the highest, in order. Gaps (not finite) are kept.
std::vector<Point> thin(const std::vector<Point>& points) {
  if (points.size() <= kMaxPoints) return points;
  const std::size_t stretch = (2 * points.size() + kMaxPoints - 1) / kMaxPoints;
  std::vector<Point> kept;
  for (std::size_t begin = 0; begin < points.size(); begin += stretch) {
    const auto first = points.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = points.begin() + static_cast<std::ptrdiff_t>(std::min(begin + stretch, points.size()));
    const auto gap = std::find_if_not(first, last, drawable);
    if (gap != last) {
      kept.push_back(*gap);
      continue;
    }
    auto [low, high] =
        std::minmax_element(first, last, [](const Point& a, const Point& b) { return a.second < b.second; });
    if (low > high) std::swap(low, high);
    kept.push_back(*low);
    if (low != high) kept.push_back(*high);
  }
  return kept;
}

/// Centred running median over 1/25 of the series, at up to 400 places: shows the trend, whatever single points do.
std::vector<Point> running_median(const std::vector<Point>& points) {
  const std::size_t n = points.size(), reach = std::max<std::size_t>(1, n / 50),
                    stride = std::max<std::size_t>(1, n / 400);
  std::vector<Point> medians;
  std::vector<double> window;
  for (std::size_t i = 0;; i = std::min(i + stride, n - 1)) {
    // Symmetric where there is room, so that ends do not lag, but never a single point.
    const std::size_t span = std::max(std::min({reach, i, n - 1 - i}), std::max<std::size_t>(1, reach / 5));
    window.clear();
    for (std::size_t j = i - std::min(i, span); j <= std::min(i + span, n - 1); ++j) {
      if (drawable(points[j])) window.push_back(points[j].second);
    }
    if (window.empty() || !drawable(points[i])) {
      medians.emplace_back(points[i].first, std::nan(""));
    } else {
      const auto middle = window.begin() + static_cast<std::ptrdiff_t>(window.size() / 2);
      std::nth_element(window.begin(), middle, window.end());
      medians.emplace_back(points[i].first, *middle);
    }
    if (i == n - 1) return medians;
  }
}

struct Axes {
  double x_low = 0, x_high = 1, y_low = 0, y_high = 1;
  Ticks x_ticks, y_ticks;
  std::size_t num_hidden = 0;  // points above y_high

  double x(double value) const { return kLeft + (value - x_low) / (x_high - x_low) * (kWidth - kLeft - kRight); }
  double y(double value) const {
    return kHeight - kBottom - (value - y_low) / (y_high - y_low) * (kHeight - kTop - kBottom);
  }
};

/// Half the length of a point's error bar; 0 where there is none.
double error_at(const ChartSeries& series, std::size_t i) {
  return i < series.errors.size() && std::isfinite(series.errors[i]) ? series.errors[i] : 0;
}

Axes fit_axes(const Chart& chart) {
  std::vector<double> xs, ys;
  double largest = -INFINITY;  // without error bars
  for (const ChartSeries& series : chart.series) {
    for (std::size_t i = 0; i < series.points.size(); ++i) {
      const Point& p = series.points[i];
      if (!drawable(p)) continue;
      xs.push_back(p.first);
      ys.push_back(p.second);
      largest = std::max(largest, p.second);
      if (const double error = error_at(series, i); error > 0)
        ys.insert(ys.end(), {p.second - error, p.second + error});
    }
  }
  for (const ChartReference& reference : chart.references)
    if (std::isfinite(reference.y)) ys.push_back(reference.y);
  Axes axes;
  if (xs.empty()) xs = {0, 1};
  if (ys.empty()) ys = {0, 1};
  std::sort(ys.begin(), ys.end());
  const auto [x_low, x_high] = std::minmax_element(xs.begin(), xs.end());
  double y_low = chart.from_zero ? std::min(0.0, ys.front()) : ys.front(), y_high = ys.back();
  // Of a few points none is usual: a short run's last and fastest step would be cut.
  constexpr std::size_t kLeastPoints = 20;
  const bool hide_outliers = chart.hide_outliers && ys.size() >= kLeastPoints;
  if (hide_outliers) {
    const double usual = ys[(ys.size() - 1) * 98 / 100];
    if (usual > 0 && y_high > 1.6 * usual) y_high = 1.15 * usual;
  }
  axes.y_ticks = nice_ticks(y_low, y_high, 5);
  // A share ends at 100 %, whatever an error bar or a rounded axis would have.
  if (chart.percent && largest <= 1)
    while (axes.y_ticks.count > 2 && axes.y_ticks.last() > 1 + 1e-9) --axes.y_ticks.count;
  axes.y_low = axes.y_ticks.first;
  axes.y_high = axes.y_ticks.last();
  if (hide_outliers)
    axes.num_hidden =
        static_cast<std::size_t>(ys.end() - std::upper_bound(ys.begin(), ys.end(), axes.y_high * (1 + 1e-12)));
  // From 0 when the first record lies near it (step 10 of 1000), and when there is one record only: no span to show else.
  const bool near_zero = *x_low < 0.1 * *x_high || (*x_low == *x_high && !chart.x_percent);
  axes.x_low = *x_low > 0 && near_zero ? 0 : *x_low;
  axes.x_high = *x_high > axes.x_low ? *x_high : axes.x_low + (chart.x_percent ? 0.01 : 1);  // ends with the data
  if (chart.x_percent) {  // room for error bars at the ends
    const double room = 0.04 * (axes.x_high - axes.x_low);
    axes.x_low -= room;
    axes.x_high += room;
  }
  axes.x_ticks = nice_ticks(axes.x_low, axes.x_high, 7);
  return axes;
}

std::string draw_axes(const Chart& chart, const Axes& axes) {
  const double bottom = kHeight - kBottom, right = kWidth - kRight;
  std::string svg;
  const double scale = chart.percent ? 100 : 1, x_scale = chart.x_percent ? 100 : 1;
  for (int i = 0; i < axes.y_ticks.count; ++i) {
    const double value = axes.y_ticks.first + axes.y_ticks.step * i, y = axes.y(value);
    svg += line(kLeft, y, right, y, "grid");
    svg += text(kLeft - 8, y + 4, "end", "tick",
                tick_label(value * scale, axes.y_ticks.step * scale, axes.y_ticks.last() * scale));
  }
  for (int i = 0; i < axes.x_ticks.count; ++i) {
    const double value = axes.x_ticks.first + axes.x_ticks.step * i, x = axes.x(value);
    if (value < axes.x_low || value > axes.x_high * (1 + 1e-12)) continue;
    svg += line(x, bottom, x, bottom + 5, "axis");
    svg += text(x, bottom + 18, "middle", "tick",
                tick_label(value * x_scale, axes.x_ticks.step * x_scale, axes.x_high * x_scale));
  }
  svg += line(kLeft, bottom, right, bottom, "axis");
  svg += text((kLeft + right) / 2, kHeight - 8, "middle", "label", chart.x_label);
  return svg;
}

/// "M" begins a stretch; points that are not finite end one.
std::string path_of(const std::vector<Point>& points, const Axes& axes) {
  std::string path;
  bool pen_down = false;
  for (const Point& p : points) {
    if (drawable(p))
      fmt::format_to(std::back_inserter(path), "{}{:.1f} {:.1f}", pen_down ? "L" : "M", axes.x(p.first),
                     axes.y(p.second));
    pen_down = drawable(p);
  }
  return path;
}

std::string draw_error_bar(double x, double low, double high, const char* color) {
  return fmt::format(
             R"(<path d="M{0:.1f} {1:.1f}V{2:.1f}M{3:.1f} {1:.1f}H{4:.1f}M{3:.1f} {2:.1f}H{4:.1f}" fill="none" )"
             R"(stroke="{5}" stroke-width="1.3"/>)",
             x, low, high, x - 4, x + 4, color) +
         "\n";
}

std::string draw_series(const Chart& chart, const ChartSeries& series, const char* color, const Axes& axes) {
  const bool smoothed = chart.smooth && series.points.size() >= kSmoothFrom;
  const auto stroke = [&](const std::vector<Point>& points, double width, double opacity) {
    return fmt::format(
               R"(<path d="{}" fill="none" stroke="{}" stroke-width="{}" stroke-opacity="{}" stroke-linejoin="round"/>)",
               path_of(thin(points), axes), color, width, opacity) +
           "\n";
  };
  std::string svg = stroke(series.points, smoothed ? 1 : 1.8, smoothed ? 0.3 : 1);
  if (smoothed) svg += stroke(running_median(series.points), 1.8, 1);
  if (series.points.size() > kMaxMarkers) return svg;
  const double x_scale = chart.x_percent ? 100 : 1, scale = chart.percent ? 100 : 1;
  for (std::size_t i = 0; i < series.points.size(); ++i) {
    const Point& p = series.points[i];
    if (!drawable(p)) continue;
    std::string value = fmt::format("{:.6g}", scale * p.second);
    if (const double error = error_at(series, i); error > 0) {
      svg += draw_error_bar(axes.x(p.first), axes.y(p.second - error), axes.y(p.second + error), color);
      value += fmt::format(" ± {:.3g}", scale * error);
    }
    svg += fmt::format(R"(<circle cx="{:.1f}" cy="{:.1f}" r="2.6" fill="{}"><title>{}</title></circle>)",
                       axes.x(p.first), axes.y(p.second), color,
                       escape_html(fmt::format("{}, {} {}: {}{}", series.name, chart.x_label, x_scale * p.first, value,
                                               chart.percent ? " %" : ""))) +
           "\n";
  }
  return svg;
}

/// Dashed, across the whole plot, with its name at its right end: above it where there is room.
std::string draw_reference(const ChartReference& reference, const Axes& axes) {
  if (!std::isfinite(reference.y)) return "";
  const double y = axes.y(reference.y);
  return line(kLeft, y, kWidth - kRight, y, "reference") +
         text(kWidth - kRight, y < kTop + 10 ? y + 14 : y - 5, "end", "tick", reference.name);
}

bool says_the_same(const std::string& a, const std::string& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// At the right, above the plot: a coloured stroke and the name of each series, unless there is nothing to tell apart.
std::string draw_legend(const Chart& chart) {
  if (!chart.legend || chart.series.empty() ||
      (chart.series.size() == 1 && says_the_same(chart.series[0].name, chart.title)))
    return "";
  std::string svg;
  double x = kWidth - kRight;
  for (std::size_t i = chart.series.size(); i-- > 0;) {
    x -= 6.6 * static_cast<double>(chart.series[i].name.size());  // about the width of the text
    svg += text(x, 21, "start", "label", chart.series[i].name);
    svg += fmt::format(R"(<line x1="{:.1f}" y1="17" x2="{:.1f}" y2="17" stroke="{}" stroke-width="3"/>)", x - 22, x - 6,
                       series_color(i)) +
           "\n";
    x -= 38;
  }
  return svg;
}

}  // namespace

const char* series_color(std::size_t i) { return kColors[i % kColors.size()]; }

std::string render_chart(const Chart& chart) {
  const Axes axes = fit_axes(chart);
  std::string svg = svg::open(kWidth, kHeight, chart.title) + svg::title(chart.title, chart.y_label);
  svg += draw_legend(chart) + draw_axes(chart, axes);
  // An inner <svg> clips what lies outside of it.
  svg += fmt::format(R"(<svg x="{0}" y="{1}" width="{2}" height="{3}" viewBox="{0} {1} {2} {3}">)", kLeft - 4, kTop - 4,
                     kWidth - kLeft - kRight + 8, kHeight - kTop - kBottom + 8) +
         "\n";
  for (const ChartReference& reference : chart.references) svg += draw_reference(reference, axes);
  for (std::size_t i = 0; i < chart.series.size(); ++i)
    svg += draw_series(chart, chart.series[i], series_color(i), axes);
  svg += "</svg>\n";
  if (axes.num_hidden > 0) {
    svg += text(kWidth - kRight, kTop - 8, "end", "tick",
                fmt::format("{} point{} above the axis", axes.num_hidden, axes.num_hidden == 1 ? "" : "s"));
  }
  return svg + "</svg>\n";
}

Ticks nice_ticks(double low, double high, int target) {
  const double size = std::max(std::abs(low), std::abs(high));
  if (!(high - low > std::max(1e-12 * size, 1e-280))) {  // one value only, as far as digits go: room above and below
    const double room = size < 1e-270 ? 1 : 0.1 * size;
    if (size >= 1e-270) low -= room;
    high += room;
  }
  const double raw = (high - low) / target;
  const double power = std::pow(10.0, std::floor(std::log10(raw)));
  const double fraction = raw / power;
  const double step = power * (fraction <= 1.5 ? 1 : fraction <= 3.5 ? 2 : fraction <= 7.5 ? 5 : 10);
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  return {first * step, step, static_cast<int>(last - first) + 1};
}

std::string tick_label(double value, double step, double largest) {
  const double size = std::max(std::abs(largest), step);
  if (size >= 1e4 && std::isfinite(size)) {
    const double unit = size >= 1e9 ? 1e9 : size >= 1e6 ? 1e6 : 1e3;
    if (size < 1e13)
      return tick_label(value / unit, step / unit, 0) + (std::abs(value) < 1e-9 * step ? ""
                                                         : unit == 1e9                 ? " G"
                                                         : unit == 1e6                 ? " M"
                                                                                       : " k");
    return fmt::format("{:.3g}", value);
  }
  if (std::abs(value) < 1e-9 * step) return "0";
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  if (decimals <= 4) return fmt::format("{:.{}f}", value, decimals);
  std::string label = fmt::format("{:.3g}", value);  // "2e-05" reads better as "2e-5"
  if (const std::size_t e = label.find("e-0"); e != std::string::npos) label.erase(e + 2, 1);
  return label;
}

std::string escape_html(const std::string& text) {
  std::string escaped;
  for (char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&#39;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace lacuna
