#include "train/peak_memory.h"

#include "core/dry_run.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/pointwise.h"

namespace lacuna {
namespace {

/// Puts a model's parameters back as they were: what a dry run leaves in them has no memory.
class ParametersKept {
 public:
  explicit ParametersKept(const std::vector<Parameter*>& parameters) : parameters_(parameters) {
    for (Parameter* p : parameters_) {
      slots_.push_back(p->slots());
      pairs_.push_back(p->gradient_pairs);
    }
  }
  ~ParametersKept() {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      parameters_[i]->var().clear_grad();
      parameters_[i]->slots() = slots_[i];
      parameters_[i]->gradient_pairs = pairs_[i];
    }
  }
  ParametersKept(const ParametersKept&) = delete;
  ParametersKept& operator=(const ParametersKept&) = delete;

 private:
  std::vector<Parameter*> parameters_;
  std::vector<std::map<std::string, Tensor>> slots_;
  std::vector<std::shared_ptr<GradientPairs>> pairs_;
};

class MemoryTrace {
 public:
  explicit MemoryTrace(Device device) : device_(device) { trace_memory(device_, true); }
  ~MemoryTrace() { trace_memory(device_, false); }
  MemoryTrace(const MemoryTrace&) = delete;
  MemoryTrace& operator=(const MemoryTrace&) = delete;

 private:
  Device device_;
};

/// What Trainer::advance does between pruning and the next step, with the same lifetimes.
class DryStep {
 public:
  DryStep(Module& model, const TrainerConfig& config, const Shape& inputs, std::int64_t num_targets, bool tokens,
          Device device)
      : model_(model),
        config_(config),
        inputs_(inputs),
        num_targets_(num_targets),
        tokens_(tokens),
        device_(device),
        parameters_(model.parameters()),
        optimizer_(make_optimizer(config.optimizer)),
        dtype_(parameters_.front()->value().dtype()),
        guard_(config.training.clip_norm, dtype_, device) {}

  void run(std::int64_t step) {
    RandomStream random(config_.seed, static_cast<std::uint64_t>(step) + 1);
    for (std::int64_t micro = 0; micro < config_.training.accumulate; ++micro) micro_step(micro, random);
    const OpScope op("optimizer");
    const UpdateInputs inputs{optimizer_->peak_lr(), step, guard_.inspect(parameters_, step_loss_)};
    for (Parameter* p : parameters_) optimizer_->update(*p, inputs);
    if (config_.training.ema_decay > 0) update_ema(parameters_, config_.training.ema_decay, inputs.guard);
    for (Parameter* p : parameters_) p->var().clear_grad();
  }

 private:
  void micro_step(std::int64_t micro, RandomStream& random) {
    const OpScope batch("load_batch");
    const Tensor inputs =
        tokens_ ? Tensor::zeros(inputs_, DType::i32, device_) : Tensor::empty(inputs_, dtype_, device_);
    const Tensor targets = Tensor::zeros({num_targets_}, DType::i32, device_);
    Var loss = [&] {
      const OpScope op("forward");
      ForwardContext context{.training = true, .random = &random};
      return cross_entropy(model_.forward(Var(inputs), context), targets, config_.training.label_smoothing);
    }();
    if (config_.training.accumulate > 1) loss = scale(loss, 1.0 / static_cast<double>(config_.training.accumulate));
    if (micro == 0)
      step_loss_ = loss.data().clone();
    else
      accumulate(step_loss_, loss.data());
    const OpScope op("backward");
    backward(loss);
  }

  Module& model_;
  const TrainerConfig& config_;
  Shape inputs_;
  std::int64_t num_targets_;
  bool tokens_;
  Device device_;
  std::vector<Parameter*> parameters_;
  std::unique_ptr<Optimizer> optimizer_;
  DType dtype_;
  GradientGuard guard_;
  Tensor step_loss_;
};

}  // namespace

PeakMemory peak_of_step(Module& model, const TrainerConfig& config, const Shape& inputs, std::int64_t num_targets,
                        bool tokens, Device device, bool keep_gradient_pairs) {
  const std::vector<Parameter*> parameters = model.parameters();
  for (Parameter* p : parameters) p->var().clear_grad();
  PeakMemory result;
  result.before = memory_stats(device).live_bytes;
  const DryRun dry;
  const ParametersKept kept(parameters);
  DryStep step(model, config, inputs, num_targets, tokens, device);
  step.run(0);  // patterns' derived data and the optimizer's state are there from here on
  if (keep_gradient_pairs)
    for (Parameter* p : parameters)
      if (p->is_sparse()) p->gradient_pairs = std::make_shared<GradientPairs>();
  const MemoryTrace trace(device);
  reset_peak_memory(device);
  step.run(1);
  result.peak = memory_stats(device).peak_bytes;
  result.blocks = blocks_at_peak(device);
  return result;
}

}  // namespace lacuna
