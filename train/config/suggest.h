// "Did you mean": the nearest of some names.
#pragma once

#include <string>
#include <vector>

namespace lacuna::config {

/// Edits (insert, delete, replace, swap of neighbours) that turn a into b: the Damerau-Levenshtein distance in its
/// optimal-string-alignment form.
int edit_distance(const std::string& a, const std::string& b);

/// The name nearest to `word`, or "" when none is near. Letter case and '-' against '_' do not count.
std::string nearest(const std::string& word, const std::vector<std::string>& names);

/// " (did you mean 'x'?)", or "".
std::string did_you_mean(const std::string& word, const std::vector<std::string>& names);

/// "a, b, c".
std::string join(const std::vector<std::string>& names);

}  // namespace lacuna::config
