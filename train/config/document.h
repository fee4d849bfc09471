// A YAML document as a tree in which every node knows where it was written; and overrides laid over it.
#pragma once

#include <string>
#include <vector>

namespace lacuna::config {

/// Where something was written: in the file (counted from 1), or in a command-line override.
struct Place {
  int line = 1;
  int column = 1;
  std::string override_text = {};  ///< "a.b=c"; empty for the file
};

struct Problem {
  Place place;
  std::string message;
};

/// `x.yaml:12:5: message`, or `override 'a.b=c': message`.
std::string to_string(const Problem& problem, const std::string& file);

/// Throws ConfigError with every problem on a line of its own, in the order of the file, overrides last. None: returns.
void throw_problems(std::vector<Problem> problems, const std::string& file);

struct Entry;

struct Node {
  enum class Kind { null, scalar, list, section };
  Kind kind = Kind::null;
  Place place = {};
  std::string text = {};            ///< scalars
  bool quoted = false;              ///< scalars
  std::vector<Node> items = {};     ///< lists
  std::vector<Entry> entries = {};  ///< sections, in order; a key may occur twice, which the reader reports

  const Entry* find(const std::string& key) const;
};

struct Entry {
  std::string key;
  Place place;
  Node node;
};

/// The bytes of a config file. Throws ConfigError: missing, unreadable, a directory, empty, over 1 MB, not UTF-8 text.
std::string read_text(const std::string& file);

/// One document without anchors, aliases, merge keys, tags: nothing is inherited. Throws ConfigError.
Node parse(const std::string& text, const std::string& file);

/// The same without a file's name: false and the problem when the text is not such a document.
bool try_parse(const std::string& text, Node& root, Problem& problem);

/// Lays `a.b=c`, `a.list.0.x=c`, `a."glob.with.dots"=c` over the tree; the value is YAML. A later one wins.
void apply_overrides(Node& root, const std::vector<std::string>& overrides, std::vector<Problem>& problems);

/// Where the value of a dotted key below `root` was written, or the nearest section or list above it that was; `above` when
/// none was.
Place place_of(const Node& root, const std::string& key, Place above = {});

/// What a node is, for messages: "nothing", "a list", "a section", "'3'".
std::string given(const Node& node);

/// "a.b" and "c" to "a.b.c"; a key that has dots is quoted.
std::string join_path(const std::string& path, const std::string& key);

/// The keys of a dotted path, quotes taken off; none when it is malformed.
std::vector<std::string> split_path(const std::string& path);

}  // namespace lacuna::config
