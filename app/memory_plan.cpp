#include "app/memory_plan.h"

#include <algorithm>
#include <map>

#include "optim/optimizer.h"
#include "pruning/sparsity_schedule.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

class Planner {
 public:
  Planner(Session& session, Trainer& trainer)
      : session_(session), trainer_(trainer), observer_(trainer_config(session.config).observe, trainer.parameters()) {}

  MemoryPlan run() {
    const PruningConfig& pruning = trainer_.pruning();
    if (pruning.method == "none") {
      make_state();
      dry_run("dense");
      return std::move(plan_);
    }
    const std::int64_t first = update_from(pruning, 0);
    if (first > 0) {
      make_state();
      dry_run("dense");
    }
    if (is_gradual(pruning)) {
      prune(pruning, first);
      make_state();
      dry_run("first pruned step");
      const std::int64_t second = update_from(pruning, first + 1);  // from one pattern to another
      if (second > first) prune(pruning, second);
    }
    prune(at_once(pruning), 0);
    make_state();
    dry_run("final sparsity");
    if (is_dynamic(pruning)) exchange(pruning);
    return std::move(plan_);
  }

 private:
  /// The first step from `step` on at which patterns change; 0 where there is none.
  std::int64_t update_from(const PruningConfig& config, std::int64_t step) const {
    for (; step < trainer_.total_steps(); ++step)
      if (pruning_due(config, step)) return step;
    return 0;
  }

  /// The optimizer's state and the average, for real: a step of length 0 along no gradient makes them and moves nothing.
  void make_state() {
    const std::unique_ptr<Optimizer> optimizer = make_optimizer(session_.config.optimizer);
    for (Parameter* p : trainer_.parameters()) {
      p->var().set_grad(Tensor::zeros_like(p->value()));
      optimizer->update(*p, {0.0, 0, {}});
      p->var().clear_grad();
    }
    const double decay = session_.config.training.ema_decay;
    if (decay > 0) update_ema(trainer_.parameters(), decay, {});
  }

  /// Entries dropped and grown. RigL's growth cannot be run without gradients: it stands as SET's, which ranks the same
  /// places, beside the gradients and the operands that it keeps.
  void exchange(PruningConfig config) {
    const std::int64_t step = update_from(config, 1);
    if (step == 0) return;
    std::size_t beside = 0;
    if (config.method == "rigl") {
      const std::size_t without = plan_.phases.back().memory.peak;
      dry_run("growth by gradient", true);
      beside = plan_.phases.back().memory.peak - without;
      for (const Parameter* p : trainer_.parameters()) beside += p->value().nbytes();
      config.method = "set";
    }
    prune(config, step, beside);
  }

  void dry_run(const char* name, bool growth = false) {
    const RunConfig& c = session_.config;
    const Shape inputs = session_.shape.inputs(c.training.batch_size);
    const std::int64_t targets = session_.is_text() ? inputs[0] : c.training.batch_size;
    plan_.phases.push_back({name, sparsity(),
                            peak_of_step(*session_.model, trainer_config(c), inputs, targets, session_.is_text(),
                                         session_.device, growth)});
  }

  double sparsity() const {
    std::int64_t stored = 0, size = 0;
    for (const Parameter* p : trainer_.parameters()) {
      if (!p->is_sparse()) continue;
      stored += p->nnz();
      size += p->shape().numel();
    }
    return size == 0 ? 0.0 : 1 - static_cast<double>(stored) / static_cast<double>(size);
  }

  /// For real, watched as in training: the observer holds what it compares. `beside`: bytes that training has then too.
  void prune(const PruningConfig& config, std::int64_t step, std::size_t beside = 0) {
    std::map<std::string, TopologyPtr> given;
    if (!config.topology_from.empty()) given = load_patterns(config.topology_from);
    Pruner pruner(config, trainer_.parameters(), session_.config.seed, given);
    reset_peak_memory(session_.device);
    observer_.before();
    pruner.step(step);
    observer_.after();
    for (Parameter* p : trainer_.parameters()) p->gradient_pairs = nullptr;
    plan_.pruning = std::max(plan_.pruning, memory_stats(session_.device).peak_bytes + beside);
  }

  Session& session_;
  Trainer& trainer_;
  TopologyObserver observer_;
  MemoryPlan plan_;
};

}  // namespace

const MemoryPhase& MemoryPlan::largest() const {
  return *std::max_element(phases.begin(), phases.end(),
                           [](const auto& a, const auto& b) { return a.memory.peak < b.memory.peak; });
}

std::size_t MemoryPlan::peak() const { return std::max(pruning, largest().memory.peak) + ready_batches; }

MemoryPlan plan_memory(Session& session, Trainer& trainer, int num_workers) {
  MemoryPlan plan = Planner(session, trainer).run();
  if (session.device.is_cpu() && num_workers > 0) {
    const RunConfig& c = session.config;
    const Shape inputs = session.shape.inputs(c.training.batch_size);
    const std::int64_t targets = session.is_text() ? inputs[0] : c.training.batch_size;
    plan.ready_batches =
        static_cast<std::size_t>(c.data.prefetch) * 4 * static_cast<std::size_t>(inputs.numel() + targets);
  }
  return plan;
}

}  // namespace lacuna
