#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/session.h"
#include "core/errors.h"
#include "optim/lr_schedule.h"
#include "pruning/sparsity_schedule.h"
#include "train/report.h"
#include "train/table.h"

namespace lacuna {
namespace {

void print_layers(Session& session) {
  std::vector<LayerPlan> lines;
  session.model->plan(session.shape.inputs(session.config.training.batch_size), "", lines);
  Table table({{"layer", Align::left},
               {"kind", Align::left},
               {"columns", Align::right},
               {"dense FLOPs", Align::right},
               {"FLOPs", Align::right},
               {"activations", Align::right}});
  double dense = 0, flops = 0, activations = 0;
  for (const LayerPlan& line : lines) {
    dense += line.dense_flops;
    flops += line.flops;
    activations += line.activation_bytes;
    table.add_row({line.name, line.kind, line.columns ? format_count(line.columns) : "", format_si(line.dense_flops),
                   format_si(line.flops), format_bytes(line.activation_bytes)});
  }
  table.add_rule();
  table.add_row({"total", "", "", format_si(dense), format_si(flops), format_bytes(activations)});
  fmt::print("Forward pass of one batch ({} examples):\n{}\n", session.config.training.batch_size, table.text());
}

void print_bytes(const std::vector<Parameter*>& parameters, const RunConfig& config, const char* title) {
  const TrainingBytes b = training_bytes(parameters, config);
  const auto text = [](std::size_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  fmt::print("{:<24} weights {}, gradients {}, optimizer {}, patterns {}: {}\n", title, text(b.weights),
             text(b.gradients), text(b.optimizer), text(b.topology), text(b.total()));
}

void print_schedule(const RunConfig& config, std::int64_t total_steps) {
  Table table({{"step", Align::right}, {"learning rate", Align::right}, {"sparsity", Align::right}});
  const double peak = make_optimizer(config.optimizer)->peak_lr();
  for (int i = 0; i <= 8; ++i) {
    const std::int64_t step = std::min(total_steps - 1, total_steps * i / 8);
    table.add_row({format_count(step), fmt::format("{:.3g}", peak * lr_factor(config.schedule, step, total_steps)),
                   config.pruning.method == "none" ? "dense" : format_percent(target_sparsity(config.pruning, step))});
  }
  fmt::print("Schedule of {} steps:\n{}\n", format_count(total_steps), table.text());
}

}  // namespace

int plan_command(const std::string& path, const std::vector<std::string>& overrides) {
  const RunConfig config = load_run_config(path, overrides);
  Session session = open_session(config);
  fmt::print("{} on {} ({})\ndata: {}\n\n", config.name, to_string(session.device), device_name(session.device),
             session.data.train->description());
  Trainer trainer(trainer_config(config), *session.model, session.data, session.device);  // refuses what training would
  print_schedule(config, trainer.total_steps());
  print_bytes(trainer.parameters(), config, "Before pruning:");
  if (config.pruning.method != "none") {
    // The final pattern of these initial weights: the same counts, so the same bytes and FLOPs, as training will end with.
    PruningConfig at_once = config.pruning;
    at_once.schedule = "one_shot";
    at_once.begin_step = 0;
    Pruner(at_once, trainer.parameters(), config.seed).step(0);
    for (Parameter* p : trainer.parameters())
      if (p->is_sparse()) {
        p->topology()->transposed();  // training will build it: it belongs to the bill
        p->topology()->row_order();
      }
    print_bytes(trainer.parameters(), config, "At the final sparsity:");
  }
  fmt::print("\nParameters{}:\n{}\n", config.pruning.method != "none" ? " at the final sparsity" : "",
             layer_table(layer_rows(trainer.parameters())));
  print_layers(session);
  return kExitDone;
}

}  // namespace lacuna
