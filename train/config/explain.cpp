#include "train/config/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <functional>

#include "core/errors.h"
#include "train/config/document.h"
#include "train/config/suggest.h"
#include "train/config/write.h"

namespace lacuna::config {
namespace {

/// A field, and the tagged sections above it that hold it only when they are of one type.
struct Found {
  std::string path;
  std::string condition;  ///< "optimizer.type: sgd", "" when none
  Field field;
};

std::string type_name(const Value& value) {
  if (value.as<bool>() != nullptr) return "true or false";
  if (value.as<int>() != nullptr || value.as<std::int64_t>() != nullptr) return "integer";
  if (value.as<std::uint64_t>() != nullptr) return "integer >= 0";
  if (value.as<double>() != nullptr) return "number";
  if (value.as<std::string>() != nullptr) return "text";
  if (auto* choice = value.as<Choice>()) return "one of " + join(choice->names());
  if (auto* alternatives = value.as<Union>()) return "section of type " + join(alternatives->types());
  if (auto* container = value.as<Container>()) {
    const std::string element = type_name(container->prototype());
    if (container->kind() == Container::Kind::optional) return element + ", or null";
    return (container->kind() == Container::Kind::map ? "section of names, each with " : "list of ") + element;
  }
  return "section";
}

bool is_section(const Value& value) { return value.as<Record>() != nullptr || value.as<Union>() != nullptr; }

/// Calls `visit(field, condition)` for the fields directly inside a value, looking through lists, maps and optionals.
using Visit = std::function<void(const Field& field, const std::string& condition)>;
void for_children(const Value& value, const std::string& path, const Visit& visit) {
  if (auto* record = value.as<Record>()) {
    for (const Field& field : record->fields) visit(field, std::string());
  } else if (auto* alternatives = value.as<Union>()) {
    const std::vector<std::string> types = alternatives->types();
    for (std::size_t i = 0; i < types.size(); ++i) {
      const Value prototype = alternatives->prototype(i);
      for (const Field& original : prototype.as<Record>()->fields) {
        Field field = original;
        field.value.owner = prototype.owner;  // the field points into the prototype
        visit(field, join_path(path, "type") + ": " + types[i]);
      }
    }
  } else if (auto* container = value.as<Container>()) {
    const Value prototype = container->prototype();
    for_children(prototype, path, [&](const Field& original, const std::string& condition) {
      Field field = original;
      if (field.value.owner == nullptr) field.value.owner = prototype.owner;
      visit(field, condition);
    });
  }
}

void all_below(const Value& value, const std::string& path, const std::string& condition, std::vector<Found>& found) {
  for_children(value, path, [&](const Field& field, const std::string& own) {
    Found here{join_path(path, field.key), own.empty() ? condition : own, field};
    found.push_back(here);
    if (here.field.value.owner == nullptr) here.field.value.owner = value.owner;
    all_below(here.field.value, here.path, here.condition, found);
  });
}

std::string to_text(const Found& found) {
  const auto& [path, condition, field] = found;
  std::string text = path + ": " + type_name(field.value);
  if (const std::string limits = constraint(field.rule); !limits.empty()) text += ", " + limits;
  if (field.rule.required) {
    text += ", required";
  } else if (auto* alternatives = field.value.as<Union>()) {
    text += ", default type " + alternatives->types()[alternatives->active()];
  } else if (!is_section(field.value)) {
    text += ", default " + write_inline(field.value);
  }
  if (!condition.empty()) text += "  [with " + condition + "]";
  text += "\n    " + field.doc + "\n";
  return text;
}

/// "a.0.b" is "a.b": indices of lists say nothing about meaning.
std::string without_indices(const std::string& key) {
  std::string result;
  for (const std::string& part : split_path(key)) {
    const bool index = std::all_of(part.begin(), part.end(), [](unsigned char c) { return std::isdigit(c); });
    if (!index) result = join_path(result, part);
  }
  return result;
}

}  // namespace

std::string explain(const Value& root, const std::string& key) {
  std::vector<Found> found;
  all_below(root, "", "", found);
  const std::string sought = without_indices(key);
  std::string text;
  std::vector<std::string> paths;
  for (const Found& entry : found) {
    paths.push_back(entry.path);
    const bool is_type = entry.field.value.as<Union>() != nullptr && sought == join_path(entry.path, "type");
    if (key.empty() || entry.path == sought || entry.path.starts_with(sought + ".") || is_type) text += to_text(entry);
  }
  if (!text.empty() && (key.empty() || !sought.empty())) return text;
  std::string hint = did_you_mean(sought, paths);
  for (const std::string& path : paths) {  // a last part alone, as in `explain warmup_steps`
    if (hint.empty() && path.ends_with("." + sought)) hint = " (did you mean '" + path + "'?)";
  }
  throw ConfigError("unknown key '" + key + "'" + hint);
}

}  // namespace lacuna::config
