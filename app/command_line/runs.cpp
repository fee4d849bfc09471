// What is done with runs and checkpoints: eval and report; export and import.
#include "app/command_line/command_table.h"
#include "app/commands.h"

namespace lacuna {
namespace {

void declare_eval(CLI::App& app, CommandTable& table) {
  const auto [command, a] =
      table.add(app, "eval", "Evaluate a run's newest checkpoint, or one checkpoint file", eval_command);
  command->group("Use runs");
  command->add_option("RUN", a.run, "Run directory or .safetensors checkpoint")->required();
  command->add_option("OVERRIDES", a.overrides, "a.b=c: sets a config key, such as device=cpu");
  command->add_option("--config", a.config, "YAML file (default: the config inside the checkpoint)")
      ->option_text("FILE");
  command->add_option("--split", a.split, "train, valid or test (default)")
      ->check(CLI::IsMember({"train", "valid", "test"}))
      ->option_text("SPLIT");
}

void declare_report(CLI::App& app, CommandTable& table) {
  const auto [command, a] =
      table.add(app, "report", "Draw report.html of a run directory anew, also while the run goes on", report_command);
  command->group("Use runs");
  command->add_option("RUN", a.run, "Run directory")->required();
}

void add_map_options(CLI::App* command, MapArguments& map) {
  command->add_option("--map", map.rules, "FILE_NAME=LACUNA_NAME, '*' and '**' as globs, '^T' behind for a transpose")
      ->allow_extra_args(false)
      ->option_text("RULE");
  command->add_option("--map-file", map.files, "File with such a rule on each line")
      ->allow_extra_args(false)
      ->option_text("FILE");
}

void declare_export(CLI::App& app, CommandTable& table) {
  const auto [command, a] =
      table.add(app, "export", "Write a checkpoint's weights for PyTorch, ONNX or as .smtx patterns", export_command);
  command->group("Exchange weights");
  command->add_option("RUN", a.run, "Run directory or .safetensors checkpoint")->required();
  command->add_option("--format", a.format, "Required: torch-sparse, torch-prune, torch-dense, onnx or smtx")
      ->required()
      ->check(CLI::IsMember({"torch-sparse", "torch-prune", "torch-dense", "onnx", "smtx"}))
      ->option_text("FORMAT");
  command->add_option("--out", a.out, "Required: what to write, a file; a directory for smtx. Must not exist")
      ->required()
      ->option_text("PATH");
  command->add_option("--config", a.config, "YAML file (default: the config inside the checkpoint)")
      ->option_text("FILE");
  command->add_flag("--last", a.last, "The last weights, also where the run kept moving averages");
  add_map_options(command, a.map);
}

void declare_import(CLI::App& app, CommandTable& table) {
  const auto [command, a] =
      table.add(app, "import", "Make a checkpoint from PyTorch weights or .smtx patterns", import_command);
  command->group("Exchange weights");
  command->add_option("FILE", a.file, ".safetensors file, .smtx file, or directory of .smtx files")->required();
  command->add_option("--config", a.config, "Required: YAML file of the network")->required()->option_text("FILE");
  command->add_option("--out", a.out, "Required: checkpoint to write. Must not exist")->required()->option_text("PATH");
  command->add_flag("--zeros-absent", a.zeros_are_absent,
                    "Store dense weights that may be pruned without their exact zeros");
  add_map_options(command, a.map);
}

}  // namespace

void declare_run_commands(CLI::App& app, CommandTable& table) {
  declare_eval(app, table);
  declare_report(app, table);
}

void declare_exchange_commands(CLI::App& app, CommandTable& table) {
  declare_export(app, table);
  declare_import(app, table);
}

}  // namespace lacuna
