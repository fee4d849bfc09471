// bench step, infer and kernels.
#include "app/command_line/command_table.h"
#include "app/commands.h"

namespace lacuna {
namespace {

// A check of CLI11's: "" where the text is a number that `holds`, else what is wrong.
template <class F>
auto number_that(F holds, const char* rule) {
  return [holds, rule](const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    return !text.empty() && *end == '\0' && holds(value) ? std::string() : "must be " + (rule + (", got " + text));
  };
}

const auto kIsSparsity = number_that([](double v) { return v >= 0 && v < 1; }, "in [0, 1), 0.9 for 90 %");
const auto kIsDuration = number_that([](double v) { return v > 0 && v <= 86400; }, "above 0 and at most 86400");

void declare_step(CLI::App& bench, CommandTable& table) {
  const auto [command, a] =
      table.add(bench, "step", "Where a training step's time goes, and how long the device waits for the host",
                bench_step_command);
  command->add_option("CONFIG", a.config, "YAML file")->required();
  command->add_option("OVERRIDES", a.overrides, "a.b=c: sets a config key, after the file");
  command->add_option("--steps", a.steps, "Steps to measure (default 30)")
      ->check(CLI::Range(1, 1000000))
      ->option_text("N");
  command->add_option("--kernels", a.kernels, "CUDA: list so many kernels, the longest first")
      ->check(CLI::Range(0, 10000))
      ->option_text("N");
  command->add_option("--sparsity", a.sparsity, "Prune to this first (default: the config's final sparsity)")
      ->check(kIsSparsity)
      ->option_text("S");
  command->add_flag("--made-up-data", a.made_up_data,
                    "Random examples of the config's shape in place of its data set, which need not be there");
  command->add_flag("--resident-batch", a.resident_batch,
                    "One batch that stays on the device, for every step: nothing waits for data or copies it");
}

void declare_infer(CLI::App& bench, CommandTable& table) {
  const auto [command, a] = table.add(
      bench, "infer", "Latency, throughput and bytes of forward passes, beside the dense twin", bench_infer_command);
  command->add_option("SOURCE", a.source, "YAML file, run directory or .safetensors checkpoint")->required();
  command->add_option("OVERRIDES", a.overrides, "a.b=c: sets a config key, after the file");
  command->add_option("--batch", a.batch, "Examples in a forward pass (default 1)")
      ->check(CLI::PositiveNumber)
      ->option_text("N");
  command->add_option("--device", a.device, "auto, cpu, cuda or cuda:N (default: the config's)")->option_text("D");
  command->add_option("--sparsity", a.sparsity, "With a config: prune to this (default: its final sparsity)")
      ->check(kIsSparsity)
      ->option_text("S");
  command->add_option("--twin", a.twin, "What the twin has dense: auto (default), weights, attention, all or none")
      ->check(CLI::IsMember({"auto", "weights", "attention", "all", "none"}))
      ->option_text("T");
  command->add_option("--kernels", a.kernels, "CUDA: list so many kernels of each network's passes, the longest first")
      ->check(CLI::Range(0, 10000))
      ->option_text("N");
  command->add_flag("--unfolded", a.unfolded, "Also time the network with its batch norms apart");
  command->add_option("--seconds", a.seconds, "Timed passes for each variant and mode (default 1)")
      ->check(kIsDuration)
      ->option_text("S");
  command->add_option("--seed", a.seed, "Of the random inputs (default 1)")->option_text("N");
  command->add_option("--json", a.json, "File for the results (docs/inference.md)")->option_text("FILE");
}

// Which problems.
void add_problem_options(CLI::App* command, bench::Options& a) {
  const auto list = [&](const char* name, auto& values, const char* text, const char* meaning) {
    command->add_option(name, values, meaning)->delimiter(',')->option_text(text);
  };
  command->add_option("--suite", a.suite, "dlmc, rnn, square, attention or quick")->option_text("SUITE");
  command->add_option("--smtx", a.smtx, ".smtx files, or folders of them")->option_text("PATH...");
  list("--op", a.ops, "OP,...",
       "spmm, spmm_transposed, sddmm, sparse_softmax, sparse_softmax_backward, attention, attention_training");
  list("--dtype", a.dtypes, "T,...", "f32, tf32, bf16");
  list("--pattern", a.patterns, "P,...", "Generated matrices: uniform, cov:C, banded, power_law:E");
  list("--m", a.m, "N,...", "Rows of generated matrices");
  list("--k", a.k, "N,...", "Columns of generated matrices (default: the rows)");
  list("--n", a.n, "N,...", "Columns of dense operands (default: the suite's)");
  list("--sparsity", a.sparsity, "S,...", "Of generated matrices, in [0, 1)");
  list("--batch", a.batch, "N,...",
       "Matrices per call that share the pattern; images side by side for ResNet-50 layers");
  command->add_option("--filter", a.filter, "Only problems whose name contains one of these, separated by commas")
      ->option_text("NAME,...");
  command->add_option("--seed", a.seed, "Of generated matrices and operands")->option_text("N");
}

void declare_kernels(CLI::App& bench, CommandTable& table) {
  const auto [command, a] =
      table.add(bench, "kernels",
                "Check and time the sparse kernels against other libraries\n"
                "Writes CSV, JSON and report.html into a new folder. docs/benchmarks.md explains suites and columns.",
                bench_kernels_command);
  add_problem_options(command, a);
  command->add_option("--device", a.device, "auto (default), cpu, cuda or cuda:N")->option_text("D");
  command->add_option("--out", a.out, "New folder for the results (default: runs/bench-kernels/TIME)")
      ->option_text("DIR");
  command->add_option("--contenders", a.contenders, "Only contenders whose name contains one of these")
      ->option_text("NAME,...");
  command
      ->add_option("--budget-ms", a.budget_ms,
                   "Measured time per contender and problem (default 10 on CUDA, 150 on CPUs)")
      ->option_text("MS");
  command->add_flag("--quick", a.quick, "At most 16 matrices, a third of the time each");
  command->add_flag("--save-patterns", a.save_patterns, "Each matrix as a .smtx file beside the results");
}

}  // namespace

void declare_bench_commands(CLI::App& app, CommandTable& table) {
  CLI::App* bench =
      app.add_subcommand("bench", "step, infer or kernels: measure a training step, inference, the sparse kernels");
  bench->group("Measure");
  bench->require_subcommand(1);
  declare_step(*bench, table);
  declare_infer(*bench, table);
  declare_kernels(*bench, table);
}

}  // namespace lacuna
