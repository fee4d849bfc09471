// Command-line overrides: dotted paths into the node tree.
#include <fmt/format.h>

#include <charconv>

#include "train/config/document.h"

namespace lacuna::config {
namespace {

void set_place(Node& node, const Place& place) {
  node.place = place;
  for (Node& item : node.items) set_place(item, place);
  for (Entry& entry : node.entries) {
    entry.place = place;
    set_place(entry.node, place);
  }
}

/// The child that `key` names, made where it is missing; null and a message where there can be none.
Node* step(Node& node, const std::string& key, const std::string& path, const Place& place, std::string& message) {
  if (node.kind == Node::Kind::scalar) {
    message = fmt::format("'{}' is the value {}, not a section", path, given(node));
    return nullptr;
  }
  if (node.kind == Node::Kind::list) {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc{} || end != key.data() + key.size() || index >= node.items.size()) {
      message = fmt::format("'{}' is a list of {}, it has no entry '{}'", path, node.items.size(), key);
      return nullptr;
    }
    return &node.items[index];
  }
  if (node.kind == Node::Kind::null) node = {Node::Kind::section, place};
  for (Entry& entry : node.entries) {
    if (entry.key != key) continue;
    entry.place = place;
    return &entry.node;
  }
  node.entries.push_back({key, place, {Node::Kind::null, place}});
  return &node.entries.back().node;
}

}  // namespace

std::string join_path(const std::string& path, const std::string& key) {
  const bool plain = !key.empty() && key.find_first_of(".\"=") == std::string::npos;
  const std::string segment = plain ? key : "\"" + key + "\"";
  return path.empty() ? segment : path + "." + segment;
}

std::vector<std::string> split_path(const std::string& path) {
  std::vector<std::string> keys(1);
  bool quoted = false;
  for (const char c : path) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == '.' && !quoted) {
      keys.emplace_back();
    } else {
      keys.back() += c;
    }
  }
  for (const std::string& key : keys) {
    if (key.empty() || quoted) return {};
  }
  return keys;
}

void apply_overrides(Node& root, const std::vector<std::string>& overrides, std::vector<Problem>& problems) {
  for (const std::string& text : overrides) {
    const Place place{1, 1, text.empty() ? " " : text};  // "" would be a place in the file
    const std::size_t equals = text.find('=');
    const std::vector<std::string> keys = split_path(text.substr(0, equals));
    if (equals == std::string::npos || keys.empty()) {
      problems.push_back({place, "must read KEY=VALUE, as in training.steps=1000"});
      continue;
    }
    Node value;
    Problem problem;
    if (!try_parse(text.substr(equals + 1), value, problem)) {
      problems.push_back({place, problem.message});
      continue;
    }
    set_place(value, place);
    Node* node = &root;
    std::string path, message;
    for (const std::string& key : keys) {
      node = step(*node, key, path, place, message);
      if (node == nullptr) break;
      path = join_path(path, key);
    }
    if (node == nullptr) {
      problems.push_back({place, message});
    } else {
      *node = std::move(value);
    }
  }
}

}  // namespace lacuna::config
