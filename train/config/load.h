// Reads, writes and explains any struct that describes itself (core/field.h).
#pragma once

#include <string>
#include <vector>

#include "train/config/explain.h"
#include "train/config/read.h"
#include "train/config/schema.h"
#include "train/config/write.h"

namespace lacuna::config {

/// Fills `value` from YAML text with overrides laid over it. `file` is only named. Throws ConfigError whose what() has
/// one problem per line, `file:line:column: ...` or `override 'a.b=c': ...`.
void load_into(const Value& value, const std::string& text, const std::string& file,
               const std::vector<std::string>& overrides);

/// T from text; what the text does not say keeps T's defaults.
template <class T>
T parse_config(const std::string& text, const std::string& file, const std::vector<std::string>& overrides = {}) {
  T config{};
  load_into(value_of(config), text, file, overrides);
  return config;
}

/// T from a file.
template <class T>
T load_config(const std::string& file, const std::vector<std::string>& overrides = {}) {
  return parse_config<T>(read_text(file), file, overrides);
}

/// Complete YAML: every key with its value, in the order of declaration. Reading it gives the same struct.
template <class T>
std::string write_config(const T& config, bool comments = false) {
  T copy = config;
  return write(value_of(copy), comments);
}

/// What T's key `key` is, or the tree of all keys when `key` is empty. Throws ConfigError for an unknown key.
template <class T>
std::string explain_config(const std::string& key = "") {
  T config{};
  return explain(value_of(config), key);
}

}  // namespace lacuna::config
