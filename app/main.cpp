// The `lacuna` program: parses the command line, runs a command, turns exceptions into exit codes.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "app/commands.h"
#include "core/errors.h"
#include "kernels/runtime/runtime.h"
#include "train/config/suggest.h"
#include "train/signals.h"

namespace {

using namespace lacuna;

int fail(int code, const std::exception& error) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", error.what());
  return code;
}

template <class F>
int guarded(F&& command) {
  try {
    return command();
  } catch (const std::bad_alloc&) {
    return fail(kExitOutOfMemory,
                OutOfMemoryError("host", "an allocation outside of tensors failed; the machine is out of memory"));
  } catch (const std::exception& e) {
    return fail(exit_code_of(e), e);
  } catch (const runtime::Failure& failure) {  // a call of the CUDA runtime outside of any op
    const Error error("cuda", failure.what);
    return fail(failure.out_of_memory ? kExitOutOfMemory : kExitRuntime, error);
  }
}

/// "unknown command 'trian' (did you mean 'train'?)", where CLI11 would say that a subcommand is required.
int refuse(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc && argv[i][0] != '-' && !at->get_subcommands({}).empty(); ++i) {
    const CLI::App* next = nullptr;
    std::vector<std::string> names;
    for (const CLI::App* command : at->get_subcommands({})) {
      names.push_back(command->get_name());
      if (names.back() == argv[i]) next = command;
    }
    if (!next) {
      std::fprintf(stderr, "unknown command '%s'%s; must be one of %s\n", argv[i],
                   config::did_you_mean(argv[i], names).c_str(), config::join(names).c_str());
      return kExitConfig;
    }
    at = next;
  }
  return app.exit(error) == 0 ? kExitDone : kExitConfig;
}

void add_map_options(CLI::App* command, MapArguments& map) {
  command->add_option("--map", map.rules, "FILE_NAME=LACUNA_NAME, '*' and '**' as globs, '^T' behind for a transpose")
      ->allow_extra_args(false);
  command->add_option("--map-file", map.files, "File with such a rule on each line")->allow_extra_args(false);
}

// OpenMP's teams spin between parallel regions, by default for milliseconds. With the cores to themselves that is fast; with
// anything else on them each region waits for a thread that a spinner keeps from running, and training is 10 to 40 times
// slower. The runtime reads its settings before main, so the program starts itself once more with a short spin.
void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;  // the user's choice, or ours already
  setenv("GOMP_SPINCOUNT", "10000", 1);                                         // some 10 us
  execv("/proc/self/exe", argv);  // returns only where it is not possible; then nothing is lost
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  keep_signals_off_computing_threads();
  std::signal(SIGXFSZ,
              SIG_IGN);  // a file at its size limit is then an error of the write, which says what is still valid
  CLI::App app{"Lacuna trains truly sparse neural networks."};
  app.require_subcommand(1);
  app.set_version_flag("--version", LACUNA_VERSION);

  TrainArguments train;
  train.command_line.assign(argv, argv + argc);
  auto* train_app = app.add_subcommand("train", "Train what a YAML file describes: lacuna train CONFIG [a.b=c ...]");
  train_app->add_option("config", train.config, "YAML file; may be left out with --resume");
  train_app->add_option("overrides", train.overrides, "key.sub=value");
  train_app->add_option("--resume", train.resume, "Run directory to continue from its newest valid checkpoint");

  SweepArguments sweep;
  sweep.command_line = train.command_line;
  auto* sweep_app =
      app.add_subcommand("sweep", "Train every combination of a grid of settings: lacuna sweep SWEEP.yaml [a.b=c ...]");
  sweep_app->add_option("sweep", sweep.file, "YAML file with base and grid; left out with --resume");
  sweep_app->add_option("overrides", sweep.overrides, "key.sub=value, for every run");
  sweep_app->add_option("--resume", sweep.resume, "Directory of a sweep to go on with: finished runs are skipped");
  sweep_app->add_flag("--dry-run", sweep.dry_run, "Check everything and list the runs");

  auto* compare_app =
      app.add_subcommand("compare", "Train a config and its dense twin; print what sparsity cost and gave");
  compare_app->add_option("config", train.config, "YAML file")->required();
  compare_app->add_option("overrides", train.overrides, "key.sub=value");

  std::string config, key, run, split = "test";
  std::vector<std::string> overrides;
  auto* plan_app = app.add_subcommand("plan", "Show what would run: layers, patterns, bytes, FLOPs, schedule");
  plan_app->add_option("config", config, "YAML file")->required();
  plan_app->add_option("overrides", overrides, "key.sub=value");

  auto* eval_app = app.add_subcommand("eval", "Evaluate a run's newest checkpoint, or one checkpoint file");
  eval_app->add_option("run", run, "Run directory or .safetensors checkpoint")->required();
  eval_app->add_option("overrides", overrides, "key.sub=value, such as device=cpu");
  eval_app->add_option("--config", config, "YAML file; the one inside the checkpoint when left out");
  eval_app->add_option("--split", split, "train, valid or test")->check(CLI::IsMember({"train", "valid", "test"}));

  auto* bench_app = app.add_subcommand("bench", "Measure");
  bench_app->require_subcommand(1);
  auto* step_app = bench_app->add_subcommand(
      "step", "Where a training step's time goes, and how long the device waits for the host");
  std::int64_t steps = 30, kernels_shown = 0;
  double sparsity = -1;
  step_app->add_option("config", config, "YAML file")->required();
  step_app->add_option("overrides", overrides, "key.sub=value");
  step_app->add_option("--steps", steps, "Steps to measure")->check(CLI::Range(1, 1000000));
  step_app->add_option("--kernels", kernels_shown, "CUDA: list so many kernels, the longest first")
      ->check(CLI::Range(0, 10000));
  step_app->add_option("--sparsity", sparsity, "Prune to this first (default: the config's final sparsity)")
      ->check([](const std::string& text) {
        const char* end = nullptr;
        const double value = std::strtod(text.c_str(), const_cast<char**>(&end));
        return *end == '\0' && value >= 0 && value < 1 ? "" : "must be in [0, 1), 0.9 for 90 %, got " + text;
      });

  InferArguments infer;
  infer.command_line = train.command_line;
  auto* infer_app =
      bench_app->add_subcommand("infer", "Latency, throughput and bytes of forward passes, beside the dense twin");
  infer_app->add_option("source", infer.source, "YAML file, run directory or .safetensors checkpoint")->required();
  infer_app->add_option("overrides", infer.overrides, "key.sub=value");
  infer_app->add_option("--batch", infer.batch, "Examples in a forward pass")->check(CLI::PositiveNumber);
  infer_app->add_option("--device", infer.device, "auto, cpu, cuda or cuda:N (default: the config's)");
  infer_app->add_option("--sparsity", infer.sparsity, "With a config: prune to this (default: its final sparsity)")
      ->check(CLI::Range(0.0, 1.0));
  infer_app->add_option("--twin", infer.twin, "What the twin has dense: auto, weights, attention, all or none")
      ->check(CLI::IsMember({"auto", "weights", "attention", "all", "none"}));
  infer_app->add_flag("--unfolded", infer.unfolded, "Also time the network with its batch norms apart");
  infer_app->add_option("--seconds", infer.seconds, "Timed passes for each variant and mode")
      ->check(CLI::PositiveNumber);
  infer_app->add_option("--seed", infer.seed, "Of the random inputs");
  infer_app->add_option("--json", infer.json, "File for the results (docs/inference.md)");

  bench::Options kernels;
  kernels.command_line = train.command_line;
  auto* kernels_app = bench_app->add_subcommand(
      "kernels", "Check and time the sparse kernels against other libraries; writes CSV, JSON and report.html");
  kernels_app->add_option("--suite", kernels.suite, "dlmc, rnn, square, attention or quick");
  kernels_app->add_option("--smtx", kernels.smtx, ".smtx files, or folders of them");
  kernels_app
      ->add_option("--op", kernels.ops,
                   "Ops, separated by commas: spmm, spmm_transposed, sddmm, sparse_softmax, "
                   "sparse_softmax_backward, attention, attention_training")
      ->delimiter(',');
  kernels_app->add_option("--dtype", kernels.dtypes, "f32, tf32, bf16")->delimiter(',');
  kernels_app->add_option("--pattern", kernels.patterns, "Generated matrices: uniform, cov:C, banded, power_law:E")
      ->delimiter(',');
  kernels_app->add_option("--m", kernels.m, "Rows of generated matrices")->delimiter(',');
  kernels_app->add_option("--k", kernels.k, "Columns of generated matrices (default: the rows)")->delimiter(',');
  kernels_app->add_option("--n", kernels.n, "Columns of dense operands (default: the suite's)")->delimiter(',');
  kernels_app->add_option("--sparsity", kernels.sparsity, "Of generated matrices, in [0, 1)")->delimiter(',');
  kernels_app
      ->add_option("--batch", kernels.batch,
                   "Matrices per call that share the pattern; images side by side for ResNet-50 layers")
      ->delimiter(',');
  kernels_app->add_option("--device", kernels.device, "auto, cpu, cuda or cuda:N");
  kernels_app->add_option("--out", kernels.out, "New folder for the results");
  kernels_app->add_option("--filter", kernels.filter,
                          "Only problems whose name contains one of these, separated by commas");
  kernels_app->add_option("--contenders", kernels.contenders, "Only contenders whose name contains one of these");
  kernels_app->add_option("--seed", kernels.seed, "Of generated matrices and operands");
  kernels_app->add_option("--budget-ms", kernels.budget_ms,
                          "Measured time per contender and problem (default 10 on CUDA, 150 on CPUs)");
  kernels_app->add_flag("--quick", kernels.quick, "At most 16 matrices, a third of the time each");

  auto* report_app =
      app.add_subcommand("report", "Draw report.html of a run directory anew, also while the run goes on");
  report_app->add_option("run", run, "Run directory")->required();

  ExportArguments exported;
  auto* export_app =
      app.add_subcommand("export", "Write a checkpoint's weights for PyTorch, ONNX or as .smtx patterns");
  export_app->add_option("run", exported.run, "Run directory or .safetensors checkpoint")->required();
  export_app->add_option("--format", exported.format, "torch-sparse, torch-prune, torch-dense, onnx or smtx")
      ->required()
      ->check(CLI::IsMember({"torch-sparse", "torch-prune", "torch-dense", "onnx", "smtx"}));
  export_app->add_option("--out", exported.out, "What to write: a file; a directory for smtx. Must not exist")
      ->required();
  export_app->add_option("--config", exported.config, "YAML file; the one inside the checkpoint when left out");
  export_app->add_flag("--last", exported.last, "The last weights, also where the run kept moving averages");
  add_map_options(export_app, exported.map);

  ImportArguments imported;
  auto* import_app = app.add_subcommand("import", "Make a checkpoint from PyTorch weights or .smtx patterns");
  import_app->add_option("file", imported.file, ".safetensors file, .smtx file, or directory of .smtx files")
      ->required();
  import_app->add_option("--config", imported.config, "YAML file of the network")->required();
  import_app->add_option("--out", imported.out, "Checkpoint to write. Must not exist")->required();
  import_app->add_flag("--zeros-absent", imported.zeros_are_absent,
                       "Store dense weights that may be pruned without their exact zeros");
  add_map_options(import_app, imported.map);

  auto* doctor_app = app.add_subcommand("doctor", "Check machine, devices, libraries and build");
  auto* explain_app = app.add_subcommand("explain", "Explain a config key, or list them all");
  explain_app->add_option("key", key, "Dotted key, such as pruning.sparsity");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return refuse(app, e, argc, argv);
  }
  return guarded([&] {
    if (*train_app) return train_command(train);
    if (*sweep_app) return sweep_command(sweep);
    if (*compare_app) return compare_command(train);
    if (*plan_app) return plan_command(config, overrides);
    if (*eval_app) return eval_command(run, config, split, overrides);
    if (*step_app) return bench_step_command(config, overrides, steps, sparsity, kernels_shown);
    if (*infer_app) return bench_infer_command(infer);
    if (*kernels_app) return bench_kernels_command(kernels);
    if (*report_app) return report_command(run);
    if (*export_app) return export_command(exported);
    if (*import_app) return import_command(imported);
    if (*doctor_app) return doctor_command();
    if (*explain_app) return explain_command(key);
    return static_cast<int>(kExitRuntime);
  });
}
