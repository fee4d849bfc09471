// Line charts as inline SVG: axes with round ticks, grid, legend. No scripts; values show as tooltips.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lacuna {

struct ChartSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (x, y), x ascending; a y that is not finite breaks the line
  std::vector<double> errors = {};                ///< half lengths of error bars, by point; may be shorter than points
};

/// A value to compare with: a dashed line across the plot.
struct ChartReference {
  std::string name;
  double y = 0;
};

struct Chart {
  std::string title;
  std::string x_label = "step";
  std::string y_label;           ///< what and in which unit; stands beside the title
  std::vector<ChartSeries> series;
  bool from_zero = false;        ///< the y axis begins at 0
  bool percent = false;          ///< y is a fraction, shown in percent
  bool hide_outliers = false;    ///< the y axis ends near the 98th percentile; what is above is cut and counted
  bool x_percent = false;        ///< x is a fraction, shown in percent
  bool legend = true;            ///< false where the page has one for several charts
  std::vector<ChartReference> references = {};
  bool smooth = false;           ///< long noisy series get a running median on top of the faint measured line
};

/// The colour of a chart's series i.
const char* series_color(std::size_t i);

/// The whole <svg> element, with class "chart". Long series are thinned so that their extremes stay.
std::string render_chart(const Chart& chart);

struct Ticks {
  double first = 0;
  double step = 1;
  int count = 0;
  double last() const { return first + step * (count - 1); }
};
/// Ticks at multiples of 1, 2 or 5 times a power of ten, about `target` of them; first <= low, last() >= high.
Ticks nice_ticks(double low, double high, int target);
/// A tick's value with as many digits as its step needs, in a unit that suits the axis' largest: "0.25", "1.5 k", "2e-5".
std::string tick_label(double value, double step, double largest);

/// For text and attribute values: & < > " ' become entities.
std::string escape_html(const std::string& text);

}  // namespace lacuna
