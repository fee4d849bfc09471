#include "train/config/read.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "train/config/suggest.h"

namespace lacuna::config {
namespace {

using Kind = Node::Kind;

class Reader {
 public:
  Reader(const Value& root, std::vector<Problem>& problems) : root_(root), problems_(problems) {}

  /// `node` is null where the file leaves the key out: then only what is required inside is looked for, and missed at
  /// `place`.
  void read(const Value& value, const FieldRule& rule, const Node* node, const Place& place, const std::string& path);

 private:
  void problem(const Place& place, std::string message) { problems_.push_back({place, std::move(message)}); }
  void wrong(const Node& node, const std::string& path, const std::string& must_be, const std::string& hint = "") {
    problem(node.place, fmt::format("'{}' must be {}, got {}{}", path, must_be, given(node), hint));
  }
  bool is_scalar(const Node& node, const std::string& path, const std::string& must_be);
  void in_range(double x, const Node& node, const FieldRule& rule, const std::string& path);

  template <class Int>
  void read_integer(Int& x, const Node& node, const FieldRule& rule, const std::string& path);
  void read_scalar(bool& x, const Node& node, const FieldRule& rule, const std::string& path);
  void read_scalar(double& x, const Node& node, const FieldRule& rule, const std::string& path);
  void read_scalar(std::string& x, const Node& node, const FieldRule& rule, const std::string& path);
  void read_scalar(int& x, const Node& node, const FieldRule& rule, const std::string& path) {
    read_integer(x, node, rule, path);
  }
  void read_scalar(std::int64_t& x, const Node& node, const FieldRule& rule, const std::string& path) {
    read_integer(x, node, rule, path);
  }
  void read_scalar(std::uint64_t& x, const Node& node, const FieldRule& rule, const std::string& path) {
    read_integer(x, node, rule, path);
  }

  void read_choice(Choice& choice, const Node& node, const std::string& path);
  void read_container(Container& container, FieldRule rule, const Node& node, const std::string& path);
  void read_union(Union& alternatives, const FieldRule& rule, const Node* node, const Place& place,
                  const std::string& path);
  void read_record(const Record& record, const Node* node, const Place& place, const std::string& path,
                   const Union* alternatives = nullptr);
  void find_duplicates(const Node& node, const std::string& path);
  void unknown_key(const Entry& entry, const Record& record, const std::string& path, const Union* alternatives);
  void run_validate(const Record& record, const Node* node, const Place& place, const std::string& path);

  const Value& root_;
  std::vector<Problem>& problems_;
};

std::string in(const std::string& path) { return path.empty() ? "" : " in '" + path + "'"; }

bool has_key(const Record& record, const std::string& key) {
  return std::any_of(record.fields.begin(), record.fields.end(), [&](const Field& field) { return field.key == key; });
}

/// The path of a section that has `key`, for keys written one section too high or too low; "" when there is none.
std::string elsewhere(const Record& record, const std::string& key, const std::string& path) {
  for (const Field& field : record.fields) {
    const auto* alternatives = field.value.as<Union>();
    const Value value = alternatives != nullptr ? alternatives->prototype(alternatives->active()) : field.value;
    const auto* section = value.as<Record>();
    if (section == nullptr) continue;
    const std::string inner = join_path(path, field.key);
    if (has_key(*section, key)) return join_path(inner, key);
    if (auto found = elsewhere(*section, key, inner); !found.empty()) return found;
  }
  return has_key(record, key) ? join_path(path, key) : "";
}

bool Reader::is_scalar(const Node& node, const std::string& path, const std::string& must_be) {
  if (node.kind == Kind::scalar && !node.quoted) return true;
  wrong(node, path, must_be, node.kind == Kind::scalar ? " in quotes" : "");
  return false;
}

void Reader::in_range(double x, const Node& node, const FieldRule& rule, const std::string& path) {
  const bool low = rule.low_open ? x > rule.low : x >= rule.low;
  const bool high = rule.high_open ? x < rule.high : x <= rule.high;
  if (!low || !high) wrong(node, path, constraint(rule));
}

template <class Int>
void Reader::read_integer(Int& x, const Node& node, const FieldRule& rule, const std::string& path) {
  const std::string must_be = std::is_signed_v<Int> ? "an integer" : "an integer >= 0";
  if (!is_scalar(node, path, must_be)) return;
  const char* first = node.text.data();
  const char* last = first + node.text.size();
  const auto [end, error] = std::from_chars(first, last, x);
  const std::size_t digits = node.text.starts_with('-') ? 1 : 0;
  if (error == std::errc::result_out_of_range && end == last) {
    return wrong(
        node, path,
        fmt::format("an integer from {} to {}", std::numeric_limits<Int>::min(), std::numeric_limits<Int>::max()));
  }
  if (error != std::errc{} || end != last) {
    double real = 0;  // 1e6 is a real number to YAML; say how to write what was meant
    const auto parsed = std::from_chars(first, last, real);
    const bool whole =
        parsed.ec == std::errc{} && parsed.ptr == last && std::floor(real) == real && std::abs(real) < 1e15;
    return wrong(node, path, must_be,
                 whole && (real >= 0 || std::is_signed_v<Int>) ? fmt::format(" (write {:.0f})", real) : "");
  }
  if (node.text.size() > digits + 1 && node.text[digits] == '0')
    return wrong(node, path, must_be + " without leading zeros");
  in_range(static_cast<double>(x), node, rule, path);
}

void Reader::read_scalar(bool& x, const Node& node, const FieldRule&, const std::string& path) {
  if (!is_scalar(node, path, "true or false")) return;
  if (node.text != "true" && node.text != "false") return wrong(node, path, "true or false");
  x = node.text == "true";
}

void Reader::read_scalar(double& x, const Node& node, const FieldRule& rule, const std::string& path) {
  if (!is_scalar(node, path, "a number")) return;
  const char* last = node.text.data() + node.text.size();
  const auto [end, error] = std::from_chars(node.text.data(), last, x);
  if (error == std::errc::result_out_of_range && end == last) return wrong(node, path, "a number that fits a double");
  const bool dotted = node.text.ends_with(".inf") || node.text.ends_with(".nan");  // YAML's own spellings
  if (dotted || (error == std::errc{} && end == last && !std::isfinite(x))) return wrong(node, path, "a finite number");
  if (error != std::errc{} || end != last) return wrong(node, path, "a number");
  in_range(x, node, rule, path);
}

void Reader::read_scalar(std::string& x, const Node& node, const FieldRule& rule, const std::string& path) {
  if (node.kind != Kind::scalar) return wrong(node, path, "text");
  x = node.text;
  const auto& allowed = rule.allowed;
  if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), x) == allowed.end()) {
    return wrong(node, path, "one of " + join(allowed), did_you_mean(x, allowed));
  }
  if (rule.non_empty && x.empty()) problem(node.place, fmt::format("'{}' must not be empty", path));
}

void Reader::read_choice(Choice& choice, const Node& node, const std::string& path) {
  const std::vector<std::string> names = choice.names();
  const auto found = std::find(names.begin(), names.end(), node.kind == Kind::scalar ? node.text : "");
  if (found == names.end()) return wrong(node, path, "one of " + join(names), did_you_mean(node.text, names));
  choice.set(static_cast<std::size_t>(found - names.begin()));
}

void Reader::read_container(Container& container, FieldRule rule, const Node& node, const std::string& path) {
  const bool non_empty = rule.non_empty;
  if (container.kind() != Container::Kind::optional) rule.required = rule.non_empty = false;
  if (container.kind() == Container::Kind::optional) {
    container.clear();
    if (node.kind != Kind::null) read(container.append(""), rule, &node, node.place, path);
    return;
  }
  if (container.kind() == Container::Kind::list) {
    if (node.kind != Kind::list)
      return wrong(node, path, "a list", node.kind == Kind::scalar ? " (write [" + node.text + "])" : "");
    if (non_empty && node.items.empty()) problem(node.place, fmt::format("'{}' must not be empty", path));
    container.clear();
    for (std::size_t i = 0; i < node.items.size(); ++i) {
      const Node& item = node.items[i];
      read(container.append(""), rule, &item, item.place, join_path(path, std::to_string(i)));
    }
    return;
  }
  if (node.kind != Kind::section) return wrong(node, path, "a section of names and values");
  if (non_empty && node.entries.empty()) problem(node.place, fmt::format("'{}' must not be empty", path));
  find_duplicates(node, path);
  container.clear();
  for (const Entry& entry : node.entries) {
    if (node.find(entry.key) != &entry) continue;
    read(container.append(entry.key), rule, &entry.node, entry.node.place, join_path(path, entry.key));
  }
}

void Reader::read_union(Union& alternatives, const FieldRule& rule, const Node* node, const Place& place,
                        const std::string& path) {
  const std::vector<std::string> types = alternatives.types();
  if (node == nullptr) return read(alternatives.get(), {}, nullptr, place, path);
  if (node->kind != Kind::section) return wrong(*node, path, "a section with a 'type' (" + join(types) + ")");
  const Entry* type = node->find("type");
  std::size_t active = alternatives.active();
  if (type != nullptr) {
    const auto found = std::find(types.begin(), types.end(), type->node.kind == Kind::scalar ? type->node.text : "");
    const std::string type_path = join_path(path, "type");
    if (found == types.end())
      return wrong(type->node, type_path, "one of " + join(types), did_you_mean(type->node.text, types));
    active = static_cast<std::size_t>(found - types.begin());
  } else if (rule.required) {
    return problem(node->place, fmt::format("missing required key 'type'{} (one of {})", in(path), join(types)));
  }
  const Value selected = alternatives.select(active);
  read_record(*selected.as<Record>(), node, place, path, &alternatives);
}

void Reader::find_duplicates(const Node& node, const std::string& path) {
  for (const Entry& entry : node.entries) {
    const Entry* first = node.find(entry.key);
    if (first == &entry) continue;
    problem(entry.place,
            fmt::format("duplicate key '{}'{} (first given in line {})", entry.key, in(path), first->place.line));
  }
}

void Reader::unknown_key(const Entry& entry, const Record& record, const std::string& path, const Union* alternatives) {
  std::string message = fmt::format("unknown key '{}'{}", entry.key, in(path));
  std::vector<std::string> keys;
  for (const Field& field : record.fields) keys.push_back(field.key);
  if (alternatives != nullptr) {
    const std::vector<std::string> types = alternatives->types();
    message += fmt::format(" of type '{}'", types[alternatives->active()]);
    std::vector<std::string> owners;
    for (std::size_t i = 0; i < types.size(); ++i) {
      const Value other = alternatives->prototype(i);
      if (has_key(*other.as<Record>(), entry.key)) owners.push_back(types[i]);
    }
    if (!owners.empty()) return problem(entry.place, message + fmt::format(" (a key of type {})", join(owners)));
    keys.push_back("type");
  }
  std::string hint = did_you_mean(entry.key, keys);
  if (const auto other = elsewhere(*root_.as<Record>(), entry.key, ""); hint.empty() && !other.empty()) {
    hint = fmt::format(" (did you mean '{}'?)", other);
  }
  problem(entry.place, message + hint);
}

void Reader::read_record(const Record& record, const Node* node, const Place& place, const std::string& path,
                         const Union* alternatives) {
  const std::size_t before = problems_.size();
  if (node != nullptr && node->kind != Kind::section) {
    return wrong(*node, path, "a section of keys", node->kind == Kind::null ? "; leave it out for its defaults" : "");
  }
  if (node != nullptr) {
    find_duplicates(*node, path);
    for (const Entry& entry : node->entries) {
      const bool is_type = alternatives != nullptr && entry.key == "type";
      if (!is_type && !has_key(record, entry.key)) unknown_key(entry, record, path, alternatives);
    }
  }
  for (const Field& field : record.fields) {
    const Entry* entry = node == nullptr ? nullptr : node->find(field.key);
    const std::string inner = join_path(path, field.key);
    if (entry != nullptr) {
      read(field.value, field.rule, &entry->node, entry->node.place, inner);
    } else if (field.rule.required) {
      problem(place, fmt::format("missing required key '{}'{}", field.key, in(path)));
    } else {
      read(field.value, field.rule, nullptr, place, inner);
    }
  }
  if (problems_.size() == before) run_validate(record, node, place, path);
}

void Reader::run_validate(const Record& record, const Node* node, const Place& place, const std::string& path) {
  if (!record.validate) return;
  record.validate([&](const std::string& key, const std::string& message) {
    std::string full = path;
    for (const std::string& part : key.empty() ? std::vector<std::string>{} : split_path(key))
      full = join_path(full, part);
    const bool below = node != nullptr && !key.empty();
    problem(below ? place_of(*node, key, place) : place,
            full.empty() ? message : fmt::format("'{}' {}", full, message));
  });
}

void Reader::read(const Value& value, const FieldRule& rule, const Node* node, const Place& place,
                  const std::string& path) {
  if (const auto* record = value.as<Record>()) return read_record(*record, node, place, path);
  if (auto* alternatives = value.as<Union>()) return read_union(*alternatives, rule, node, place, path);
  if (node == nullptr) return;
  if (auto* container = value.as<Container>()) return read_container(*container, rule, *node, path);
  if (auto* choice = value.as<Choice>()) return read_choice(*choice, *node, path);
  std::visit(
      [&]<class T>(const T& target) {
        if constexpr (std::is_pointer_v<T>) read_scalar(*target, *node, rule, path);
      },
      value.target);
}

}  // namespace

void read(const Value& value, const Node& root, std::vector<Problem>& problems) {
  if (root.kind != Kind::section) {
    problems.push_back(
        {root.place, fmt::format("must be a section of keys ('key: value' lines), got {}", given(root))});
    return;
  }
  Reader(value, problems).read(value, {}, &root, root.place, "");
}

}  // namespace lacuna::config
