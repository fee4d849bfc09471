// The commands of the `lacuna` program. Each returns its exit code; errors leave as exceptions, which main turns into codes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/bench/suites.h"

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
  std::string config;                  ///< may be empty with resume: the run's own resolved config is taken
  std::vector<std::string> overrides;  ///< "a.b=c"
  std::string resume;                  ///< a run directory, or empty
  std::vector<std::string> command_line;  ///< argv, for the record
};

int train_command(const TrainArguments& arguments);
/// Trains the config and its dense twin (the same without pruning) one after the other and prints what sparsity cost and gave.
int compare_command(const TrainArguments& arguments);
int plan_command(const std::string& config, const std::vector<std::string>& overrides);
int eval_command(const std::string& run_or_checkpoint, const std::string& config, const std::string& split);
int bench_step_command(const std::string& config, const std::vector<std::string>& overrides, std::int64_t steps,
                       double sparsity);
/// Checks and times kernels against others'; writes CSV, JSON and an HTML report. kExitRuntime when a result fails its bound.
int bench_kernels_command(const bench::Options& options);
/// Draws report.html of a run directory anew from its metrics and config: of a run that still goes on, or was cut off.
int report_command(const std::string& run);
int doctor_command();
int explain_command(const std::string& key);

}  // namespace lacuna
