// The page around a report: one HTML file with its style inside, for light and dark screens.
#pragma once

#include <string>

namespace lacuna {

/// `body` is HTML; title and subtitle are text.
std::string render_page(const std::string& title, const std::string& subtitle, const std::string& body);

}  // namespace lacuna
