// train, sweep and compare; plan, explain and doctor.
#include "app/command_line/command_table.h"
#include "app/commands.h"

namespace lacuna {
namespace {

constexpr const char* kOverrides = "a.b=c: sets a config key, after the file; 'lacuna explain' lists them";

void declare_train(CLI::App& app, CommandTable& table) {
  const auto [command, a] = table.add(
      app, "train",
      "Train what a YAML file describes\n"
      "Writes a new directory runs/NAME/TIME-ID with log, metrics, checkpoints and report.html. Ctrl-C saves and "
      "ends with exit code 75.",
      train_command);
  command->group("Train");
  command->add_option("CONFIG", a.config, "YAML file; left out with --resume");
  command->add_option("OVERRIDES", a.overrides, kOverrides);
  command->add_option("--resume", a.resume, "Run directory to go on with, from its newest valid checkpoint")
      ->option_text("RUN");
}

void declare_sweep(CLI::App& app, CommandTable& table) {
  const auto [command, a] = table.add(app, "sweep",
                                      "Train every combination of a grid of settings\n"
                                      "One run after another; a summary and a page of charts are rewritten after each.",
                                      sweep_command);
  command->group("Train");
  command->add_option("SWEEP", a.file, "YAML file with base and grid; left out with --resume");
  command->add_option("OVERRIDES", a.overrides, "a.b=c: sets a config key of every run");
  command->add_option("--resume", a.resume, "Directory of a sweep to go on with: finished runs are skipped")
      ->option_text("DIR");
  command->add_flag("--dry-run", a.dry_run, "Check everything and list the runs");
}

void declare_compare(CLI::App& app, CommandTable& table) {
  const auto [command, a] = table.add(
      app, "compare", "Train a config and its dense twin; print what sparsity cost and gave", compare_command);
  command->group("Train");
  command->add_option("CONFIG", a.config, "YAML file")->required();
  command->add_option("OVERRIDES", a.overrides, kOverrides);
}

void declare_plan(CLI::App& app, CommandTable& table) {
  const auto [command, a] =
      table.add(app, "plan",
                "Show what would run: layers, patterns, bytes, FLOPs, schedule\n"
                "Trains nothing and writes nothing. Where the data set is absent, the config's shapes serve.",
                plan_command);
  command->group("Look ahead");
  command->add_option("CONFIG", a.config, "YAML file")->required();
  command->add_option("OVERRIDES", a.overrides, kOverrides);
}

void declare_explain(CLI::App& app, CommandTable& table) {
  const auto [command, a] = table.add(app, "explain", "Explain a config key, or list them all", explain_command);
  command->group("Look ahead");
  command->add_option("KEY", a.key, "Dotted key or section, such as pruning.sparsity or pruning");
}

void declare_doctor(CLI::App& app, CommandTable& table) {
  const auto [command, a] = table.add(app, "doctor", "Check machine, devices, libraries and build", doctor_command);
  command->group("Look ahead");
}

}  // namespace

void declare_training_commands(CLI::App& app, CommandTable& table) {
  declare_train(app, table);
  declare_sweep(app, table);
  declare_compare(app, table);
}

void declare_planning_commands(CLI::App& app, CommandTable& table) {
  declare_plan(app, table);
  declare_explain(app, table);
  declare_doctor(app, table);
}

}  // namespace lacuna
