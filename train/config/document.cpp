#include "train/config/document.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <tuple>

#include "core/errors.h"

namespace lacuna::config {
namespace {

/// What the tree cannot hold: ends parsing.
struct Refusal {
  Problem problem;
};

Place place_of(const YAML::Mark& mark) { return mark.is_null() ? Place{} : Place{mark.line + 1, mark.column + 1}; }

/// Turns yaml-cpp's events into nodes. Events, and not yaml-cpp's own nodes, because these lose the places of keys.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const std::string& text) : text_(text) {}
  Node root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    if (awaits_key()) refuse_key(mark);
    // yaml-cpp puts a missing value where the next token stands, lines below; its key is what the reader looks for.
    const bool has_key = !open_.empty() && open_.back()->kind == Node::Kind::section;
    add({Node::Kind::null, has_key ? open_.back()->entries.back().place : place_of(mark)});
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse_anchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    check(mark, tag, anchor);
    const bool quoted = tag == "!";
    if (quoted) check_closed(mark);
    if (!awaits_key()) return add({Node::Kind::scalar, place_of(mark), text, quoted});
    if (text == "<<" && !quoted) {
      throw Refusal{
          {place_of(mark), "merge keys ('<<') are not supported: a config inherits nothing, write the values out"}};
    }
    open_.back()->entries.push_back({text, place_of(mark), {}});
    key_given_.back() = true;
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, Node::Kind::list);
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, Node::Kind::section);
  }
  void OnSequenceEnd() override { end(); }
  void OnMapEnd() override { end(); }

 private:
  bool awaits_key() const { return !open_.empty() && open_.back()->kind == Node::Kind::section && !key_given_.back(); }

  [[noreturn]] static void refuse_key(const YAML::Mark& mark) {
    throw Refusal{{place_of(mark), "a key must be a word (is a bracket left open?)"}};
  }
  static void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor == 0) return;
    throw Refusal{
        {place_of(mark), "anchors and aliases are not supported: a config inherits nothing, write the value out"}};
  }
  static void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    refuse_anchor(mark, anchor);
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refusal{{place_of(mark), fmt::format("YAML tags ('{}') are not supported", tag)}};
  }

  /// yaml-cpp takes a quote that is still open at the end of the text for closed, when a newline comes last.
  void check_closed(const YAML::Mark& mark) const {
    std::size_t at = static_cast<std::size_t>(mark.pos);
    if (at >= text_.size() || (text_[at] != '"' && text_[at] != '\'')) return;  // a block scalar
    const char quote = text_[at++];
    for (; at < text_.size(); ++at) {
      if (text_[at] == '\\' && quote == '"') {
        ++at;
      } else if (text_[at] == quote) {
        if (quote == '"' || at + 1 >= text_.size() || text_[at + 1] != quote) return;
        ++at;  // '' is an apostrophe
      }
    }
    throw Refusal{{place_of(mark), "not valid YAML: the quote that opens here is never closed"}};
  }

  void begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Node::Kind kind) {
    check(mark, tag, anchor);
    if (awaits_key()) refuse_key(mark);
    Node* node = slot();
    *node = {kind, place_of(mark)};
    open_.push_back(node);
    key_given_.push_back(false);
  }
  void end() {
    open_.pop_back();
    key_given_.pop_back();
  }
  void add(Node node) { *slot() = std::move(node); }
  /// Where the next node goes. Pointers to open nodes stay valid: only the innermost one's vector grows.
  Node* slot() {
    if (open_.empty()) return &root;
    Node& parent = *open_.back();
    if (parent.kind == Node::Kind::list) return &parent.items.emplace_back();
    key_given_.back() = false;
    return &parent.entries.back().node;
  }

  const std::string& text_;
  std::vector<Node*> open_;
  std::vector<bool> key_given_;
};

/// Length of the UTF-8 sequence at `text[i]`, or 0 when it is not one.
std::size_t utf8_length(const std::string& text, std::size_t i) {
  const auto byte = [&](std::size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
  const unsigned lead = byte(i);
  const std::size_t length = lead < 0x80                   ? 1
                             : lead >= 0xC2 && lead < 0xE0 ? 2
                             : (lead & 0xF0) == 0xE0       ? 3
                             : lead >= 0xF0 && lead < 0xF5 ? 4
                                                           : 0;
  for (std::size_t k = 1; k < length; ++k) {
    if ((byte(i + k) & 0xC0) != 0x80) return 0;
  }
  return length;
}

/// yaml-cpp guesses encodings and passes control characters through; a config is UTF-8 text or it is refused.
void check_text(const std::string& text, const std::string& file) {
  Place place;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const std::size_t length = utf8_length(text, i);
    if (length == 0)
      throw_problems({{place, fmt::format("byte 0x{:02x} is not UTF-8: this is not a text file", byte)}}, file);
    if ((byte < 0x20 && byte != '\n' && byte != '\r' && byte != '\t') || byte == 0x7F) {
      throw_problems({{place, fmt::format("control character 0x{:02x}: this is not a text file", byte)}}, file);
    }
    place = byte == '\n' ? Place{place.line + 1, 1} : Place{place.line, place.column + 1};
    i += length;
  }
}

}  // namespace

std::string to_string(const Problem& problem, const std::string& file) {
  const Place& place = problem.place;
  if (!place.override_text.empty()) return fmt::format("override '{}': {}", place.override_text, problem.message);
  return fmt::format("{}:{}:{}: {}", file, place.line, place.column, problem.message);
}

void throw_problems(std::vector<Problem> problems, const std::string& file) {
  if (problems.empty()) return;
  std::stable_sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    const auto order = [](const Place& p) {
      return p.override_text.empty() ? std::tuple(0, p.line, p.column) : std::tuple(1, 0, 0);
    };
    return order(a.place) < order(b.place);
  });
  std::string text;
  for (const Problem& problem : problems) {
    if (!text.empty()) text += '\n';
    text += to_string(problem, file);
  }
  throw ConfigError(text);
}

const Entry* Node::find(const std::string& key) const {
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &*found;
}

std::string read_text(const std::string& file) {
  constexpr std::size_t kLongest = 1 << 20;
  std::error_code error;
  const auto status = std::filesystem::status(file, error);
  if (status.type() == std::filesystem::file_type::not_found) throw ConfigError(file + ": no such file");
  if (std::filesystem::is_directory(status)) throw ConfigError(file + ": is a directory; a YAML file is expected");
  std::ifstream stream(file, std::ios::binary);
  if (!stream) throw ConfigError(file + ": cannot be opened for reading");
  std::string text(kLongest + 1, '\0');
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (stream.bad()) throw ConfigError(file + ": cannot be read");
  text.resize(static_cast<std::size_t>(stream.gcount()));
  if (text.size() > kLongest) throw ConfigError(file + ": is larger than 1 MB; this is not a config");
  return text;
}

Node parse(const std::string& given_text, const std::string& file) {
  const std::string text =
      given_text.starts_with("\xEF\xBB\xBF") ? given_text.substr(3) : given_text;  // byte order mark
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) throw ConfigError(file + ": is empty");
  check_text(text, file);
  Node root;
  Problem problem;
  if (!try_parse(text, root, problem)) throw_problems({problem}, file);
  return root;
}

bool try_parse(const std::string& text, Node& root, Problem& problem) {
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    TreeBuilder builder(text), second(text);
    parser.HandleNextDocument(builder);
    if (parser.HandleNextDocument(second))
      throw Refusal{{second.root.place, "a second YAML document begins; one is expected"}};
    root = std::move(builder.root);
    return true;
  } catch (const YAML::Exception& error) {
    const bool vague = error.msg == "illegal map value";
    problem = {place_of(error.mark),
               "not valid YAML: " + error.msg +
                   (vague ? " (check the indentation here and for a space after ':' in the line above)" : "")};
  } catch (const Refusal& refusal) {
    problem = refusal.problem;
  }
  return false;
}

Place place_of(const Node& root, const std::string& key, Place above) {
  const Node* at = &root;
  for (const std::string& part : split_path(key)) {
    const Entry* entry = at->kind == Node::Kind::section ? at->find(part) : nullptr;
    const std::size_t index = at->kind == Node::Kind::list ? static_cast<std::size_t>(std::atoll(part.c_str())) : 0;
    at = entry != nullptr ? &entry->node : index < at->items.size() ? &at->items[index] : nullptr;
    if (at == nullptr) break;
    above = at->place;
  }
  return above;
}

std::string given(const Node& node) {
  switch (node.kind) {
    case Node::Kind::null: return "nothing";
    case Node::Kind::list: return "a list";
    case Node::Kind::section: return "a section";
    case Node::Kind::scalar: break;
  }
  constexpr std::size_t kShown = 60;
  return "'" + (node.text.size() > kShown ? node.text.substr(0, kShown) + "..." : node.text) + "'";
}

}  // namespace lacuna::config
