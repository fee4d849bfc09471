// What a config key means, from the schema alone.
#pragma once

#include <string>

#include "train/config/schema.h"

namespace lacuna::config {

/// Type, default, limits and meaning of the dotted `key`, once for each type of a tagged section that has it; of a
/// section, all keys below. "" = everything. Throws ConfigError with a suggestion for a key that is not there.
std::string explain(const Value& root, const std::string& key);

}  // namespace lacuna::config
