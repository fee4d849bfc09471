// The program's commands: each is declared once, with its options and the function that runs it.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

/// A command that is being declared: its options write into `arguments`.
template <class Arguments>
struct DeclaredCommand {
  CLI::App* app;
  Arguments& arguments;
};

class CommandTable {
 public:
  explicit CommandTable(std::vector<std::string> argv) : argv_(std::move(argv)) {}
  CommandTable(const CommandTable&) = delete;
  CommandTable& operator=(const CommandTable&) = delete;

  /// Adds `name` to `parent`. Arguments with a `command_line` get argv in it.
  ///   does  what it does, for --help; the first line alone stands in the list of commands
  template <class Arguments>
  DeclaredCommand<Arguments> add(CLI::App& parent, const char* name, const char* does,
                                 int (*command)(const Arguments&)) {
    const auto arguments = std::make_shared<Arguments>();
    if constexpr (requires { arguments->command_line = argv_; }) arguments->command_line = argv_;
    CLI::App* app = parent.add_subcommand(name, does);
    runs_.emplace_back(app, [command, arguments] { return command(*arguments); });
    return {app, *arguments};
  }

  /// Runs the command that was parsed and returns its exit code. One must have been: the parser requires it.
  int run() const {
    for (const auto& [app, command] : runs_)
      if (app->parsed()) return command();
    return 1;
  }

 private:
  std::vector<std::string> argv_;
  std::vector<std::pair<CLI::App*, std::function<int()>>> runs_;
};

// Each declares some commands, in the order in which --help lists them.
void declare_training_commands(CLI::App& app, CommandTable& table);  // train, sweep, compare
void declare_planning_commands(CLI::App& app, CommandTable& table);  // plan, explain, doctor
void declare_run_commands(CLI::App& app, CommandTable& table);       // eval, report
void declare_bench_commands(CLI::App& app, CommandTable& table);     // bench step, infer, kernels
void declare_exchange_commands(CLI::App& app, CommandTable& table);  // export, import

}  // namespace lacuna
