#include "train/config/write.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace lacuna::config {
namespace {

/// Whether every YAML reader takes the text for a string without quotes.
bool is_plain(const std::string& text) {
  static const std::array kReserved = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
  if (text.empty()) return false;
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!letter(text[0]) && text[0] != '/' && text[0] != '_') return false;
  std::string lower;
  for (const char c : text) {
    if (!letter(c) && !(c >= '0' && c <= '9') && c != '_' && c != '.' && c != '/' && c != '-') return false;
    lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  for (const char* word : kReserved) {
    if (lower == word) return false;
  }
  return true;
}

std::string quoted(const std::string& text) {
  if (is_plain(text)) return text;
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\x{:02x}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

/// The shortest digits that read back as the same double.
std::string number(double x) {
  std::array<char, 32> buffer{};
  const auto end = std::to_chars(buffer.data(), buffer.data() + buffer.size(), x).ptr;
  std::string text(buffer.data(), end);
  return text.find_first_not_of("-0123456789") == std::string::npos ? text + ".0" : text;
}

/// The record inside a value that is a section, with the type line of a tagged one; null for anything else.
struct Section {
  std::shared_ptr<Record> record = nullptr;
  std::string type = {};
};
Section section_of(const Value& value) {
  if (const auto* record = std::get_if<std::shared_ptr<Record>>(&value.target)) return {*record};
  if (auto* alternatives = value.as<Union>()) {
    return {std::get<std::shared_ptr<Record>>(alternatives->get().target),
            alternatives->types()[alternatives->active()]};
  }
  if (auto* container = value.as<Container>();
      container != nullptr && container->kind() == Container::Kind::optional && container->size() == 1) {
    return section_of(container->at(0));
  }
  return {};
}

bool is_empty(const Section& section) { return section.type.empty() && section.record->fields.empty(); }

class Writer {
 public:
  explicit Writer(bool comments) : comments_(comments) {}

  void write_section(const Section& section, int indent) {
    if (!section.type.empty()) line(indent, "type: " + section.type, "");
    for (const Field& field : section.record->fields) write_entry(field.key, field.value, field.doc, indent);
  }
  const std::string& text() const { return text_; }

 private:
  void line(int indent, const std::string& content, const std::string& doc) {
    text_ += std::string(static_cast<std::size_t>(indent), ' ') + content;
    if (comments_ && !doc.empty()) text_ += "  # " + doc;
    text_ += '\n';
  }

  void write_entry(const std::string& key, const Value& value, const std::string& doc, int indent) {
    const std::string head = quoted(key) + ":";
    if (const Section section = section_of(value); section.record != nullptr && !is_empty(section)) {
      line(indent, head, doc);
      return write_section(section, indent + 2);
    }
    auto* container = value.as<Container>();
    const bool block = container != nullptr && container->size() > 0 &&
                       (container->kind() == Container::Kind::map || section_of(container->at(0)).record != nullptr);
    if (!block) return line(indent, head + " " + write_inline(value), doc);
    line(indent, head, doc);
    for (std::size_t i = 0; i < container->size(); ++i) {
      if (container->kind() == Container::Kind::map) {
        write_entry(container->key(i), container->at(i), "", indent + 2);
      } else {
        write_item(container->at(i), indent + 2);
      }
    }
  }

  /// "- " takes the place of the first two columns of the item's first line.
  void write_item(const Value& value, int indent) {
    const std::size_t start = text_.size();
    const Section section = section_of(value);
    if (section.record == nullptr || is_empty(section)) return line(indent, "- " + write_inline(value), "");
    write_section(section, indent + 2);
    text_[start + static_cast<std::size_t>(indent)] = '-';
  }

  bool comments_;
  std::string text_;
};

}  // namespace

std::string write_inline(const Value& value) {
  if (const Section section = section_of(value); section.record != nullptr) {
    std::string inner = section.type.empty() ? "" : "type: " + section.type;
    for (const Field& field : section.record->fields) {
      inner += (inner.empty() ? "" : ", ") + quoted(field.key) + ": " + write_inline(field.value);
    }
    return "{" + inner + "}";
  }
  if (auto* choice = value.as<Choice>()) return quoted(choice->names()[choice->get()]);
  if (auto* container = value.as<Container>()) {
    if (container->kind() == Container::Kind::optional)
      return container->size() == 0 ? "null" : write_inline(container->at(0));
    const bool map = container->kind() == Container::Kind::map;
    std::string inner;
    for (std::size_t i = 0; i < container->size(); ++i) {
      inner += (i == 0 ? "" : ", ") + (map ? quoted(container->key(i)) + ": " : "") + write_inline(container->at(i));
    }
    return map ? "{" + inner + "}" : "[" + inner + "]";
  }
  return std::visit(
      []<class T>(const T& target) -> std::string {
        if constexpr (std::is_same_v<T, bool*>) return *target ? "true" : "false";
        else if constexpr (std::is_same_v<T, double*>) return number(*target);
        else if constexpr (std::is_same_v<T, std::string*>) return quoted(*target);
        else if constexpr (std::is_pointer_v<T>) return std::to_string(*target);
        else return "";
      },
      value.target);
}

std::string write(const Value& record, bool comments) {
  Writer writer(comments);
  const Section section = section_of(record);
  if (is_empty(section)) return "{}\n";
  writer.write_section(section, 0);
  return writer.text();
}

}  // namespace lacuna::config
