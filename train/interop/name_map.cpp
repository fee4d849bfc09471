#include "train/interop/name_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <string_view>

#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/config/suggest.h"

namespace lacuna::interop {

namespace {

std::string trimmed(const std::string& text) {
  const std::size_t begin = text.find_first_not_of(" \t\r");
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// Literal text (which may be empty) and wildcards ("*", "**") by turns.
std::vector<std::string> pieces_of(const std::string& pattern) {
  std::vector<std::string> pieces{""};
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '*') {
      pieces.back() += pattern[i];
      continue;
    }
    const bool across = i + 1 < pattern.size() && pattern[i + 1] == '*';
    pieces.push_back(across ? "**" : "*");
    pieces.push_back("");
    i += across ? 1 : 0;
  }
  return pieces;
}

std::vector<std::string> wildcards_of(const std::string& pattern) {
  const std::vector<std::string> pieces = pieces_of(pattern);
  std::vector<std::string> wildcards;
  for (std::size_t i = 1; i < pieces.size(); i += 2) wildcards.push_back(pieces[i]);
  return wildcards;
}

/// Whether pieces[at..] match all of `name`; the shortest text for each wildcard, from the left, goes to captures.
bool match(const std::vector<std::string>& pieces, std::size_t at, std::string_view name,
           std::vector<std::string>& captures) {
  if (!name.starts_with(pieces[at])) return false;
  name.remove_prefix(pieces[at].size());
  if (at + 1 == pieces.size()) return name.empty();
  const bool across = pieces[at + 1] == "**";
  for (std::size_t taken = 0; taken <= name.size(); ++taken) {
    if (taken > 0 && !across && name[taken - 1] == '.') return false;
    captures.emplace_back(name.substr(0, taken));
    if (match(pieces, at + 2, name.substr(taken), captures)) return true;
    captures.pop_back();
  }
  return false;
}

std::string filled(const std::string& pattern, const std::vector<std::string>& captures) {
  std::vector<std::string> pieces = pieces_of(pattern);
  std::string name;
  for (std::size_t i = 0; i < pieces.size(); ++i) name += i % 2 == 1 ? captures[i / 2] : pieces[i];
  return name;
}

}  // namespace

void NameMap::add(const std::string& text, const std::string& where) {
  const auto fail = [&](const std::string& what) { throw ConfigError(fmt::format("{}: '{}': {}", where, text, what)); };
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || text.find('=', equals + 1) != std::string::npos)
    fail("must be FILE_NAME=LACUNA_NAME, with one '='");
  Rule rule{trimmed(text.substr(0, equals)), trimmed(text.substr(equals + 1)), where};
  if (rule.lacuna.ends_with("^T")) {
    rule.transpose = true;
    rule.lacuna = trimmed(rule.lacuna.substr(0, rule.lacuna.size() - 2));
  }
  if (rule.file.empty() && rule.lacuna.empty()) fail("both sides are empty; one must name a tensor");
  for (const std::string& name : {rule.file, rule.lacuna}) {
    if (name.find_first_of(" \t^") != std::string::npos)
      fail(fmt::format("'{}' holds a blank or '^'; names hold neither, and '^T' stands last", name));
    if (name.find("***") != std::string::npos) fail("'***'; a wildcard is '*' or '**'");
  }
  if (rule.transpose && (rule.file.empty() || rule.lacuna.empty())) fail("'^T' on a tensor that is left out");
  if (!rule.file.empty() && !rule.lacuna.empty() && wildcards_of(rule.file) != wildcards_of(rule.lacuna))
    fail("both sides must have the same wildcards in the same order");
  rules_.push_back(std::move(rule));
}

void NameMap::add_file(const std::filesystem::path& path) {
  std::string text;
  try {
    text = read_text_file(path);
  } catch (const Error& error) {
    throw DataError("name map", error.what());
  }
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string rule = trimmed(line);
    if (!rule.empty() && rule.front() != '#') add(rule, fmt::format("{}:{}", path.string(), number));
  }
}

std::optional<MappedName> NameMap::find(const std::string& name, MapSide side) {
  for (Rule& rule : rules_) {
    const std::string& from = side == MapSide::file ? rule.file : rule.lacuna;
    std::vector<std::string> captures;
    if (from.empty() || !match(pieces_of(from), 0, name, captures)) continue;
    rule.used = true;
    return MappedName{filled(side == MapSide::file ? rule.lacuna : rule.file, captures), rule.transpose};
  }
  return std::nullopt;
}

bool NameMap::leaves_out(const std::string& name) {
  for (Rule& rule : rules_) {
    std::vector<std::string> captures;
    if (rule.file.empty() || !match(pieces_of(rule.file), 0, name, captures)) continue;
    if (rule.lacuna.empty()) rule.used = true;
    return rule.lacuna.empty();
  }
  return false;
}

void NameMap::require_used(const std::vector<std::string>& names, MapSide side) const {
  for (const Rule& rule : rules_) {
    const std::string& from = side == MapSide::file ? rule.file : rule.lacuna;
    if (from.empty() || rule.used) continue;  // one that only the other direction uses
    throw ConfigError(fmt::format("{}: '{}={}{}': no tensor is left that '{}' matches; every rule must match one{}",
                                  rule.where, rule.file, rule.lacuna, rule.transpose ? "^T" : "", from,
                                  config::did_you_mean(from, names)));
  }
}

std::string torch_name(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  const std::string last = dot == std::string::npos ? name : name.substr(dot + 1);
  if (last == "gain") return name.substr(0, name.size() - 4) + "weight";
  constexpr std::string_view kSame[] = {"weight", "bias", "running_mean", "running_var"};
  return std::find(std::begin(kSame), std::end(kSame), last) != std::end(kSame) ? name : name + ".weight";
}

}  // namespace lacuna::interop
