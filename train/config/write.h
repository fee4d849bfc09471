// A described struct as YAML.
#pragma once

#include <string>

#include "train/config/schema.h"

namespace lacuna::config {

/// Every key with its value, in the order of declaration; with `comments`, each field's doc follows its value.
std::string write(const Value& record, bool comments);

/// A value in one line: "3", "[1, 2]", "null"; a section as "{...}".
std::string write_inline(const Value& value);

}  // namespace lacuna::config
