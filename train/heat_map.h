// Heat maps as inline SVG: a row for each name, colour for a value that holds from one step to the next.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace lacuna {

struct HeatRow {
  std::string name;
  std::vector<std::pair<double, double>> points;  ///< (step from which it holds, value), steps ascending
};

struct HeatMap {
  std::string title;
  std::string value_label;  ///< what and in which unit; stands beside the title
  std::string x_label = "step";
  std::vector<HeatRow> rows;
  double x_last = 0;    ///< the last value of each row holds until here
  bool percent = true;  ///< values are fractions, shown in percent; else as 1.2 k
};

/// The whole <svg> element, with class "chart". Colours run from 0 to the largest value, each row's last value stands at its
/// right. Long rows are thinned to what the picture can show: of the values in one place the last stays.
std::string render_heat_map(const HeatMap& map);

}  // namespace lacuna
