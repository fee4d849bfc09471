// The commands of the `lacuna` program. Each returns its exit code; errors leave as exceptions, which main turns into codes.
#pragma once

#include <cstdint>
#include <exception>
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
  std::string config;                     ///< may be empty with resume: the run's own resolved config is taken
  std::vector<std::string> overrides;     ///< "a.b=c"
  std::string resume;                     ///< a run directory, or empty
  std::vector<std::string> command_line;  ///< argv, for the record
};

/// Names in a file of another framework beside Lacuna's: docs/interop.md.
struct MapArguments {
  std::vector<std::string> rules;  ///< "FILE_NAME=LACUNA_NAME"
  std::vector<std::string> files;  ///< of such rules, a line each; looked at after `rules`
};

struct ExportArguments {
  std::string run;     ///< a run directory or a checkpoint
  std::string config;  ///< YAML file; "" takes the one inside the checkpoint
  std::string format;  ///< torch-sparse, torch-prune, torch-dense, onnx or smtx
  std::string out;     ///< must not exist
  MapArguments map;
  bool last = false;  ///< the last weights also where moving averages were kept
};

struct ImportArguments {
  std::string file;    ///< a .safetensors file, a .smtx file or a directory of those
  std::string config;  ///< YAML file of the network
  std::string out;     ///< the checkpoint; must not exist
  MapArguments map;
  bool zeros_are_absent = false;
};

struct InferArguments {
  std::string source;                  ///< a config, a run directory or a checkpoint
  std::vector<std::string> overrides;  ///< "a.b=c"
  std::int64_t batch = 1;              ///< examples in a pass
  std::string device;                  ///< "": the config's
  double sparsity = -1;                ///< of a config; negative: its final one
  std::string twin = "auto";           ///< auto, weights, attention, all or none
  bool unfolded = false;               ///< also the network with its norms apart
  double seconds = 1;                  ///< of timed passes for each variant and mode
  std::uint64_t seed = 1;              ///< of the inputs
  std::string json;                    ///< file for the results, or ""
  std::int64_t kernels = 0;            ///< so many of each variant are listed, on CUDA
  std::vector<std::string> command_line;
};

/// Of compare and plan.
struct ConfigArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::vector<std::string> command_line;
};

struct SweepArguments {
  std::string file;                    ///< the sweep's YAML; empty with resume
  std::vector<std::string> overrides;  ///< "a.b=c", for every run
  std::string resume;                  ///< a sweep's directory, or empty
  bool dry_run = false;                ///< check and list the runs, run none
  std::vector<std::string> command_line;
};

struct EvalArguments {
  std::string run;     ///< a run directory or a checkpoint
  std::string config;  ///< YAML file; "" takes the one inside the checkpoint
  std::string split = "test";
  std::vector<std::string> overrides;
};

struct StepArguments {
  std::string config;
  std::vector<std::string> overrides;
  std::int64_t steps = 30;
  double sparsity = -1;      ///< negative: the config's final one
  std::int64_t kernels = 0;  ///< so many are listed, on CUDA
  bool made_up_data = false;
  bool resident_batch = false;
};

struct ReportArguments {
  std::string run;
};
struct DoctorArguments {};
struct ExplainArguments {
  std::string key;  ///< "": all
};

/// What main returns for an error that a command threw.
int exit_code_of(const std::exception& error);

int train_command(const TrainArguments& arguments);
/// Trains every combination of a grid over a base config, one after another, and writes a summary of them all. A run that
/// fails is reported, and the others go on: the code is then that of the first that failed.
int sweep_command(const SweepArguments& arguments);
/// Trains the config and its dense twin (the same without pruning) one after the other and prints what sparsity cost and gave.
int compare_command(const ConfigArguments& arguments);
int plan_command(const ConfigArguments& arguments);
int eval_command(const EvalArguments& arguments);
int bench_step_command(const StepArguments& arguments);
/// Times forward passes of a network and its dense twin: docs/inference.md. kExitRuntime when the two disagree.
int bench_infer_command(const InferArguments& arguments);
/// Checks and times kernels against others'; writes CSV, JSON and an HTML report. kExitRuntime when a result fails its bound.
int bench_kernels_command(const bench::Options& options);
/// Draws report.html of a run directory anew from its metrics and config: of a run that still goes on, or was cut off.
int report_command(const ReportArguments& arguments);
/// Writes a checkpoint's weights for other programs. Nothing is overwritten and nothing half-written.
int export_command(const ExportArguments& arguments);
/// Writes a checkpoint of the config's network with weights (or patterns) from elsewhere.
int import_command(const ImportArguments& arguments);
int doctor_command(const DoctorArguments& arguments);
int explain_command(const ExplainArguments& arguments);

}  // namespace lacuna
