#include "train/svg.h"

#include <fmt/format.h>

#include "train/chart.h"

namespace lacuna::svg {

std::string text(double x, double y, const char* anchor, const char* css, const std::string& content) {
  return fmt::format(R"(<text x="{:.1f}" y="{:.1f}" text-anchor="{}" class="{}">{}</text>)", x, y, anchor, css,
                     escape_html(content)) +
         "\n";
}

std::string line(double x1, double y1, double x2, double y2, const char* css) {
  return fmt::format(R"(<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" class="{}"/>)", x1, y1, x2, y2, css) +
         "\n";
}

std::string open(double width, double height, const std::string& name) {
  return fmt::format(R"(<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">)", width, height,
                     escape_html(name)) +
         "\n";
}

std::string title(const std::string& title, const std::string& label) {
  return fmt::format(
             R"(<text x="18" y="21"><tspan class="title">{}</tspan><tspan dx="10" class="label">{}</tspan></text>)",
             escape_html(title), escape_html(label)) +
         "\n";
}

std::string shortened(const std::string& name, std::size_t letters) {
  return name.size() <= letters ? name : "\u2026" + name.substr(name.size() - letters + 1);
}

}  // namespace lacuna::svg
