#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "app/commands.h"
#include "app/memory_plan.h"
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
  const double size = session.config.training.precision == TrainingPrecision::bf16 ? 0.5 : 1.0;  // lines speak of f32
  for (LayerPlan& line : lines) {
    line.activation_bytes *= size;
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

void print_schedule(const RunConfig& config, const PruningConfig& pruning, std::int64_t total_steps) {
  Table table({{"step", Align::right}, {"learning rate", Align::right}, {"sparsity", Align::right}});
  const double peak = make_optimizer(config.optimizer)->peak_lr();
  for (int i = 0; i <= 8; ++i) {
    const std::int64_t step = std::min(total_steps - 1, total_steps * i / 8);
    table.add_row({format_count(step), fmt::format("{:.3g}", peak * lr_factor(config.schedule, step, total_steps)),
                   pruning.method == "none" ? "dense" : format_percent(target_sparsity(pruning, step))});
  }
  fmt::print("Schedule of {} steps:\n{}\n", format_count(total_steps), table.text());
}

// What each layer is asked for, and what it gets in whole units.
void print_sparsity(const Pruner& pruner) {
  Table table({{"pruned weight", Align::left},
               {"entries", Align::right},
               {"requested", Align::right},
               {"achieved", Align::right},
               {"by", Align::left}});
  const PruningConfig& c = pruner.groups().front().config;
  const auto percent = [](std::int64_t stored, std::int64_t size) {
    return size == 0 ? "" : format_percent(1 - static_cast<double>(stored) / static_cast<double>(size), 2);
  };
  for (const LayerSparsity& layer : pruner.layers())
    table.add_row({layer.name, format_count(layer.size), percent(layer.requested, layer.size),
                   percent(layer.stored, layer.size), layer.own ? "its own" : c.distribution});
  fmt::print("\n{}{}\n", table.text(), pruner.summary());
}

void print_memory(const MemoryPlan& plan) {
  const auto text = [](std::size_t bytes) { return format_bytes(static_cast<double>(bytes)); };
  Table table(
      {{"step", Align::left}, {"sparsity", Align::right}, {"held before", Align::right}, {"peak", Align::right}});
  for (const MemoryPhase& phase : plan.phases)
    table.add_row({phase.name, format_percent(phase.sparsity), text(phase.memory.before), text(phase.memory.peak)});
  if (plan.pruning > 0) table.add_row({"while pruning", "", "", text(plan.pruning)});
  if (plan.ready_batches > 0) table.add_row({"batches ready, beside it", "", "", text(plan.ready_batches)});
  table.add_rule();
  table.add_row({"peak of training", "", "", text(plan.peak())});
  fmt::print("\nMemory in tensors, by a dry run of each kind of step:\n{}\n", table.text());
  Table blocks({{"made by", Align::left}, {"blocks", Align::right}, {"bytes", Align::right}});
  constexpr std::size_t kShown = 8;
  const std::vector<MemoryBlocks>& all = plan.largest().memory.blocks;
  for (std::size_t i = 0; i < std::min(all.size(), kShown); ++i)
    blocks.add_row({all[i].op, format_count(all[i].count), text(all[i].bytes)});
  fmt::print("Alive at the peak of the step '{}', beside what it began with:\n{}\n", plan.largest().name,
             blocks.text());
}

}  // namespace

int plan_command(const ConfigArguments& arguments) {
  const RunConfig config = load_run_config(arguments.config, arguments.overrides);
  Session session = open_session(config, DataUse::made_up_if_gone);
  session.config.data.num_workers = 0;  // nothing is trained: batches made ahead would only be in the account
  fmt::print("{} on {} ({})\ndata: {}\n", config.name, to_string(session.device), device_name(session.device),
             session.data.train->description());
  if (!session.data_note.empty()) fmt::print("      {}, which is not there\n", session.data_note);
  fmt::print("\n");
  const std::unique_ptr<Trainer> owned = make_trainer(session);  // refuses what training would
  Trainer& trainer = *owned;
  print_schedule(config, trainer.pruning(), trainer.total_steps());
  print_bytes(trainer.parameters(), config, "Before pruning:");
  // The model ends at the final pattern of these initial weights: the same counts, so the same bytes and FLOPs, as training
  // will end with.
  const MemoryPlan memory = plan_memory(session, trainer, config.data.num_workers);
  if (config.pruning.method != "none") {
    for (Parameter* p : trainer.parameters())
      if (p->is_sparse()) {
        p->topology()->transposed();  // training will build it: it belongs to the bill
        p->topology()->row_order();
      }
    print_bytes(trainer.parameters(), config, "At the final sparsity:");
    print_sparsity(*trainer.pruner());
  }
  print_memory(memory);
  fmt::print("\nParameters{}:\n{}\n", config.pruning.method != "none" ? " at the final sparsity" : "",
             layer_table(layer_rows(trainer.parameters(), num_slots(config))));
  print_layers(session);
  return kExitDone;
}

}  // namespace lacuna
