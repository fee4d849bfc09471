// What the charts have in common: pieces of SVG.
#pragma once

#include <string>

namespace lacuna::svg {

/// <text>, with `content` escaped. `anchor`: start, middle, end; `css`: title, label, tick.
std::string text(double x, double y, const char* anchor, const char* css, const std::string& content);
/// <line>, of class `css`: axis or grid.
std::string line(double x1, double y1, double x2, double y2, const char* css);
/// The opening tag of a chart of this size, named for those who cannot see it.
std::string open(double width, double height, const std::string& name);
/// A title with what is shown and its unit beside it.
std::string title(const std::string& title, const std::string& label);
/// `name`, or its end after an ellipsis when it has more than `letters` bytes: what tells layers apart stands last.
std::string shortened(const std::string& name, std::size_t letters);

}  // namespace lacuna::svg
