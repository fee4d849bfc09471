// How a config struct describes itself: names, meanings and limits of its members, and nothing about files.
//
//   struct AdamConfig {
//     static constexpr const char* kType = "adam";     // only for the alternatives of a tagged union (std::variant)
//     double learning_rate = 1e-3;                     // the member initialiser is the default, and its only place
//     double beta1 = 0.9;
//     std::string path;
//   };
//   template <class V> void describe(AdamConfig& c, V&& v) {
//     v("learning_rate", c.learning_rate, "Step size at the schedule's peak", positive());
//     v("beta1", c.beta1, "Decay of the first moment", fraction());
//     v("path", c.path, "Directory that holds the files", required(), non_empty());
//   }
//   // Optional, found by argument-dependent lookup: what no single member can tell. Runs when each member is valid.
//   inline void validate(const AdamConfig& c, const ReportProblem& problem) {
//     if (c.beta1 > c.learning_rate) problem("beta1", "must not exceed 'learning_rate'");
//   }
//
// Members may be bool, int, int64, uint64, double, std::string, enums that have `enum_names`, described structs, and
// std::optional (null = none), std::vector, std::vector<std::pair<std::string, X>> (a map, in its order) and
// std::variant (picked by the key `type`) of those. Rules on a container hold for its elements, but required() and
// non_empty(), which speak of the container. Units belong in the text.
//
//   enum class Padding { same, valid };
//   inline EnumNames<Padding> enum_names(Padding) { return {{"same", Padding::same}, {"valid", Padding::valid}}; }
#pragma once

#include <functional>
#include <initializer_list>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

/// What a value must satisfy beside having its type. Rules given together hold together.
struct FieldRule {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;             ///< low itself is not allowed
  bool high_open = false;            ///< high itself is not allowed
  bool required = false;             ///< has no default: the file must say it
  bool non_empty = false;            ///< strings and lists
  std::vector<std::string> allowed;  ///< strings; empty = any
};

/// low <= x <= high.
inline FieldRule range(double low, double high) {
  FieldRule rule;
  rule.low = low;
  rule.high = high;
  return rule;
}

/// x >= low.
inline FieldRule at_least(double low) { return range(low, std::numeric_limits<double>::infinity()); }

/// x > 0.
inline FieldRule positive() {
  FieldRule rule = at_least(0);
  rule.low_open = true;
  return rule;
}

/// x >= 0.
inline FieldRule non_negative() { return at_least(0); }

/// 0 <= x < 1: a sparsity, a dropout rate, a decay.
inline FieldRule fraction() {
  FieldRule rule = range(0, 1);
  rule.high_open = true;
  return rule;
}

/// 0 <= x <= 1.
inline FieldRule probability() { return range(0, 1); }

/// One of these strings.
inline FieldRule one_of(std::initializer_list<const char*> values) {
  FieldRule rule;
  rule.allowed.assign(values.begin(), values.end());
  return rule;
}

inline FieldRule required() {
  FieldRule rule;
  rule.required = true;
  return rule;
}

inline FieldRule non_empty() {
  FieldRule rule;
  rule.non_empty = true;
  return rule;
}

/// Both rules at once.
inline FieldRule operator&(FieldRule a, const FieldRule& b) {
  if (b.low > a.low || (b.low == a.low && b.low_open)) {
    a.low = b.low;
    a.low_open = b.low_open;
  }
  if (b.high < a.high || (b.high == a.high && b.high_open)) {
    a.high = b.high;
    a.high_open = b.high_open;
  }
  a.required |= b.required;
  a.non_empty |= b.non_empty;
  a.allowed.insert(a.allowed.end(), b.allowed.begin(), b.allowed.end());
  return a;
}

/// The spellings of an enum's values, as its `enum_names(E)` returns them.
template <class E>
using EnumNames = std::vector<std::pair<std::string, E>>;

/// How `validate` reports: `key` is a member's name or dotted path inside the struct ("" = the struct as a whole), and
/// `message` goes on from it ("must be after 'begin' (500), got 100").
using ReportProblem = std::function<void(const std::string& key, const std::string& message)>;

}  // namespace lacuna
