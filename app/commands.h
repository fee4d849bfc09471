// The commands of the `lacuna` program. Each returns its exit code; errors leave as exceptions, which main turns into codes.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <vector>

namespace lacuna {

enum ExitCode : int {
  kExitDone = 0,
  kExitRuntime = 1,
  kExitConfig = 2,
  kExitData = 3,  ///< a checkpoint or data
  kExitDiverged = 4,
  kExitOutOfMemory = 5,
  kExitDistributed = 6,
  kExitInterrupted = 75,  ///< saved; run again with --resume
};

struct TrainArguments {
  std::string config;                     ///< may be empty with resume: the run's own resolved config is taken
  std::vector<std::string> overrides;     ///< "a.b=c"
  std::string resume;                     ///< a run directory, or empty
  std::vector<std::string> command_line;  ///< argv, for the record
};

int train_command(const TrainArguments& arguments);
/// What main returns for an error that a command threw.
int exit_code_of(const std::exception& error);

struct SweepArguments {
  std::string file;                    ///< the sweep's YAML; empty with resume
  std::vector<std::string> overrides;  ///< "a.b=c", for every run
  std::string resume;                  ///< a sweep's directory, or empty
  bool dry_run = false;                ///< check and list the runs, run none
  std::vector<std::string> command_line;
};
/// Trains every combination of a grid over a base config, one after another, and writes a summary of them all. A run that
/// fails is reported, and the others go on: the code is then that of the first that failed.
int sweep_command(const SweepArguments& arguments);

/// Trains the config and its dense twin (the same without pruning) one after the other and prints what sparsity cost and gave.
int compare_command(const TrainArguments& arguments);
int plan_command(const std::string& config, const std::vector<std::string>& overrides);
int eval_command(const std::string& run_or_checkpoint, const std::string& config, const std::string& split);
int bench_step_command(const std::string& config, const std::vector<std::string>& overrides, std::int64_t steps,
                       double sparsity);
/// Draws report.html of a run directory anew from its metrics and config: of a run that still goes on, or was cut off.
int report_command(const std::string& run);
int doctor_command();
int explain_command(const std::string& key);

}  // namespace lacuna
