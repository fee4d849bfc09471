// How --help reads: "lacuna train [OPTIONS] CONFIG", lines of at most 100 columns, lists indented.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace lacuna {

class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter();
  std::string make_description(const CLI::App* app) const override;
  std::string make_usage(const CLI::App* app, std::string name) const override;
  std::string make_option(const CLI::Option* option, bool is_positional) const override;
  std::string make_subcommand(const CLI::App* command) const override;
};

}  // namespace lacuna
