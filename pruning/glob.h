// Globs over dotted parameter names.
#pragma once

#include <string_view>

namespace lacuna {

/// `*` matches within one path component (no dot), `**` across dots, `?` one character other than a dot.
bool glob_matches(std::string_view pattern, std::string_view name);

}  // namespace lacuna
