#include "pruning/glob.h"

namespace lacuna {

bool glob_matches(std::string_view pattern, std::string_view name) {
  if (pattern.empty()) return name.empty();
  if (pattern[0] == '*') {
    const bool across = pattern.size() > 1 && pattern[1] == '*';
    const std::string_view rest = pattern.substr(across ? 2 : 1);
    for (std::size_t taken = 0; taken <= name.size(); ++taken) {
      if (glob_matches(rest, name.substr(taken))) return true;
      if (taken < name.size() && !across && name[taken] == '.') return false;
    }
    return false;
  }
  if (name.empty()) return false;
  const bool same = pattern[0] == '?' ? name[0] != '.' : pattern[0] == name[0];
  return same && glob_matches(pattern.substr(1), name.substr(1));
}

}  // namespace lacuna
