#include "app/command_line/help.h"

#include <string_view>

namespace lacuna {
namespace {

constexpr std::size_t kWidth = 100, kIndent = 26;

/// Appends `text` word by word; lines after the first begin at column `indent`. `at` is the column to go on from.
void append_wrapped(std::string& out, std::size_t at, std::size_t indent, std::string_view text) {
  bool first = true;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (!first && at + 1 + end > kWidth) {
      out += '\n' + std::string(indent, ' ');
      at = indent;
      first = true;
    }
    if (!first) out += ' ', ++at;
    out += text.substr(0, end);
    at += end;
    first = false;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  out += '\n';
}

/// "  name      what it means", the meaning in a column of its own, on a new line beside a long name.
std::string entry(const std::string& name, std::string_view meaning) {
  std::string line = "  " + name;
  if (line.size() + 2 > kIndent)
    line += "\n" + std::string(kIndent, ' ');
  else
    line.resize(kIndent, ' ');
  append_wrapped(line, kIndent, kIndent, meaning);
  return line;
}

std::string_view first_line(std::string_view text) { return text.substr(0, text.find('\n')); }

}  // namespace

HelpFormatter::HelpFormatter() {
  label("Positionals", "Arguments");
  label("SUBCOMMAND", "COMMAND");
}

std::string HelpFormatter::make_description(const CLI::App* app) const {
  std::string text;
  const std::string description = app->get_description();
  std::string_view rest = description;
  while (!rest.empty()) {
    const std::string_view line = first_line(rest);
    append_wrapped(text, 0, 0, line);
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
  }
  return text + "\n";
}

std::string HelpFormatter::make_usage(const CLI::App* app, std::string) const {
  std::string name;
  for (const CLI::App* a = app; a != nullptr; a = a->get_parent())
    name = a->get_name() + (name.empty() ? "" : " ") + name;
  return CLI::Formatter::make_usage(app, name);
}

std::string HelpFormatter::make_option(const CLI::Option* option, bool is_positional) const {
  const std::string name = make_option_name(option, is_positional);
  return entry(is_positional ? name : name + make_option_opts(option), option->get_description());
}

std::string HelpFormatter::make_subcommand(const CLI::App* command) const {
  return entry(command->get_name(), first_line(command->get_description()));
}

}  // namespace lacuna
