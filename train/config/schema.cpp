#include "train/config/schema.h"

#include <fmt/format.h>

#include <cmath>

#include "train/config/suggest.h"

namespace lacuna::config {

std::string constraint(const FieldRule& rule) {
  if (!rule.allowed.empty()) return "one of " + join(rule.allowed);
  const bool low = std::isfinite(rule.low), high = std::isfinite(rule.high);
  if (low && high)
    return fmt::format("in {}{}, {}{}", rule.low_open ? '(' : '[', rule.low, rule.high, rule.high_open ? ')' : ']');
  if (low) return fmt::format("{} {}", rule.low_open ? ">" : ">=", rule.low);
  if (high) return fmt::format("{} {}", rule.high_open ? "<" : "<=", rule.high);
  return rule.non_empty ? "not empty" : "";
}

}  // namespace lacuna::config
