// Node tree into a described struct: strict, and every problem at once.
#pragma once

#include <string>
#include <vector>

#include "train/config/document.h"
#include "train/config/schema.h"

namespace lacuna::config {

/// Fills `value` (a record, holding its defaults) from the tree and appends what is wrong to `problems`: unknown and
/// duplicate keys, wrong types, values out of range, missing required keys, and what `validate` finds.
void read(const Value& value, const Node& root, std::vector<Problem>& problems);

}  // namespace lacuna::config
