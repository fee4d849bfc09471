#include "train/trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "core/errors.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/pointwise.h"
#include "optim/lr_schedule.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

// Times a phase when there is a timer.
class PhaseScope {
 public:
  PhaseScope(PhaseTimer* timer, Phase phase) : timer_(timer) {
    if (timer_) timer_->begin(phase);
  }
  ~PhaseScope() {
    if (timer_) timer_->end();
  }
  PhaseScope(const PhaseScope&) = delete;
  PhaseScope& operator=(const PhaseScope&) = delete;

 private:
  PhaseTimer* timer_;
};

// Puts the moving averages in the parameters' place, and the trained values back at the end of the scope.
class AveragedWeights {
 public:
  explicit AveragedWeights(const std::vector<Parameter*>& parameters) {
    const OpScope op("averaged_weights");
    for (Parameter* p : parameters) {
      const auto ema = p->slots().find("ema");
      if (ema == p->slots().end()) continue;
      saved_.emplace_back(p, p->value().clone());
      p->value().copy_from(ema->second);
    }
  }
  ~AveragedWeights() {
    for (auto& [parameter, value] : saved_) parameter->value().copy_from(value);
  }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  std::vector<std::pair<Parameter*, Tensor>> saved_;
};

/// Optimizer steps that see the training set once. Not always whole: a step's batches may lie in two epochs.
double steps_per_epoch(const TrainingConfig& c, std::int64_t num_examples) {
  return static_cast<double>(num_examples / c.batch_size) / static_cast<double>(c.accumulate);
}

std::int64_t steps_in(const TrainingConfig& c, std::int64_t num_examples) {
  if (c.steps > 0) return c.steps;
  return std::max<std::int64_t>(1, std::llround(c.epochs * steps_per_epoch(c, num_examples)));
}

/// Of a batch on the host: negative targets are padding.
std::int64_t count_targets(const Tensor& targets) {
  const std::int32_t* data = targets.data<std::int32_t>();
  return std::count_if(data, data + targets.numel(), [](std::int32_t target) { return target >= 0; });
}

DType dtype_of_model(const std::vector<Parameter*>& parameters) {
  if (parameters.empty()) throw ValueError("trainer", "a model without parameters; must have some to train");
  return parameters.front()->value().dtype();
}

}  // namespace

double Evaluation::bits_per_target() const { return loss / std::numbers::ln2; }

Trainer::Trainer(const TrainerConfig& config, Module& model, const DataSplits& data, Device device,
                 std::unique_ptr<Recorder> recorder)
    : config_(config),
      model_(model),
      data_(data),
      device_(device),
      parameters_(model.parameters()),
      buffers_(model.buffers()),
      optimizer_(make_optimizer(config.optimizer)),
      observer_(config.observe, parameters_),
      guard_(config.training.clip_norm, dtype_of_model(parameters_), device),
      uploader_(device),
      step_loss_(Tensor::zeros({}, dtype_of_model(parameters_), device)),
      loss_sum_(Tensor::zeros({}, dtype_of_model(parameters_), device)) {
  const TrainingConfig& t = config_.training;
  if (data_.train->num_examples() < t.batch_size)
    throw DataError("trainer", fmt::format("{} with batch_size {}; the training set must hold at least one batch",
                                           data_.train->description(), t.batch_size));
  total_steps_ = steps_in(t, data_.train->num_examples());
  if (!t.init_from.empty()) load_checkpoint(t.init_from, parameters_, buffers_, LoadSlots::no);
  start_pruning();
  make_graph(std::move(recorder));
  start_loader();
}

Trainer::~Trainer() = default;

void Trainer::make_graph(std::unique_ptr<Recorder> recorder) {
  if (!recorder && config_.training.cuda_graph) recorder = make_recorder(device_);
  if (recorder && optimizer_->can_be_captured())
    graph_ = std::make_unique<StepGraph>(device_, std::move(recorder), config_.training.accumulate);
}

void Trainer::start_pruning() {
  if (config_.pruning.method == "none") return;
  const char* end_key = config_.pruning.end_epoch ? "pruning.end_epoch" : "pruning.end_step";
  config_.pruning = in_steps(config_.pruning, steps_per_epoch(config_.training, data_.train->num_examples()));
  std::map<std::string, TopologyPtr> given;
  if (!config_.pruning.topology_from.empty()) given = load_patterns(config_.pruning.topology_from);
  pruner_ = std::make_unique<Pruner>(config_.pruning, parameters_, config_.seed, given);
  if (pruner_->last_step() >= total_steps_)
    throw ConfigKeyError(
        end_key, fmt::format("makes step {} the last that prunes, but training has {}; the target sparsity would "
                             "never be reached",
                             pruner_->last_step(), total_steps_));
}

LoaderOptions Trainer::loader_options() const {
  LoaderOptions options;
  options.batch_size = config_.training.batch_size;
  options.seed = config_.seed;
  options.shuffle = true;
  options.drop_last = true;
  options.augment = true;
  options.num_workers = config_.num_workers;
  options.queue_depth = config_.prefetch;
  options.start_step = step_ * config_.training.accumulate;
  return options;
}

void Trainer::start_loader() {
  loader_.reset();
  loader_ = std::make_unique<BatchLoader>(data_.train, loader_options());
}

void Trainer::resume_at(std::int64_t step, double interval_loss_sum, std::int64_t interval_steps) {
  step_ = step;
  loss_sum_.copy_from(Tensor::full({}, interval_loss_sum, loss_sum_.dtype(), device_));
  interval_steps_ = interval_steps;
  for (Parameter* p : parameters_) {  // of a step that did not end
    p->var().clear_grad();
    p->gradient_pairs = nullptr;
  }
  guard_ = GradientGuard(config_.training.clip_norm, loss_sum_.dtype(), device_);  // whatever happened before is undone
  guard_start_ = step_;
  if (graph_) graph_->invalidate();  // parameters have new places
  start_loader();
}

double Trainer::lr(std::int64_t step) const {
  return optimizer_->peak_lr() * lr_factor(config_.schedule, step, total_steps_);
}
double Trainer::sparsity() const { return pruner_ ? pruner_->achieved_sparsity() : 0.0; }
double Trainer::data_wait_seconds() const { return loader_->wait_seconds(); }

Var Trainer::training_loss(const Batch& batch, RandomStream& random) {
  const OpScope op("forward");
  ForwardContext context{
      .training = true, .random = &random, .bf16 = config_.training.precision == TrainingPrecision::bf16};
  return cross_entropy(model_.forward(Var(batch.inputs), context), batch.targets, config_.training.label_smoothing);
}

void Trainer::collect_gradients(std::int64_t batches) {
  std::vector<Tensor> saved;
  for (const NamedBuffer& buffer : buffers_) saved.push_back(buffer.tensor->clone());
  BatchLoader loader(data_.train, loader_options());
  RandomStream random(config_.seed, static_cast<std::uint64_t>(step_) + 1);
  for (std::int64_t i = 0; i < batches; ++i) {
    const Batch batch = loader.next();
    const Var loss = training_loss({uploader_.upload(batch.inputs), uploader_.upload(batch.targets)}, random);
    backward(scale(loss, 1.0 / static_cast<double>(batches)));
  }
  for (std::size_t i = 0; i < saved.size(); ++i) buffers_[i].tensor->copy_from(saved[i]);
}

Batch Trainer::load_batch(PhaseTimer* timer) {
  const PhaseScope scope(timer, Phase::data);
  const OpScope op("load_batch");
  const Batch batch = loader_->next();
  return {uploader_.upload(batch.inputs), uploader_.upload(batch.targets)};
}

void Trainer::micro_step(std::int64_t micro, const Batch& batch, RandomStream& random, PhaseTimer* timer) {
  Var loss;
  {
    const PhaseScope scope(timer, Phase::forward);
    loss = training_loss(batch, random);
    if (config_.training.accumulate > 1) loss = scale(loss, 1.0 / static_cast<double>(config_.training.accumulate));
  }
  if (micro == 0)
    step_loss_ = loss.data().clone();
  else
    accumulate(step_loss_, loss.data());
  const PhaseScope scope(timer, Phase::backward);
  const OpScope op("backward");
  backward(loss);
}

bool Trainer::grow_if_due(PhaseTimer* timer) {
  if (!pruner_ || !pruner_->growth_due(step_)) return false;
  const PhaseScope scope(timer, Phase::pruning);
  if (guard_.diverged()) {  // growth waits for the device anyway; gradients that are not finite rank nothing
    for (Parameter* p : parameters_) p->gradient_pairs = nullptr;  // or each further step would add to them
    return false;
  }
  observer_.before();
  const bool grown = pruner_->after_backward(step_);
  observer_.after();
  return grown;
}

void Trainer::prune(PhaseTimer* timer) {
  if (!pruner_) return;
  const PhaseScope scope(timer, Phase::pruning);
  const std::int64_t batches = pruner_->score_batches(step_);
  if (batches > 0) collect_gradients(batches);
  observer_.before();
  const bool updated = pruner_->step(step_);
  observer_.after();
  // Patterns that changed would show; slots that rewinding replaced would not.
  if (updated && graph_) graph_->invalidate();
  if (batches > 0)
    for (Parameter* p : parameters_) p->var().clear_grad();
}

void Trainer::update(const UpdateGuard& guard, bool grown) {
  if (!grown) optimizer_->update_all(parameters_, guard);
  if (config_.training.ema_decay > 0) update_ema(parameters_, config_.training.ema_decay, guard);
  for (Parameter* p : parameters_) p->var().clear_grad();
  accumulate(loss_sum_, step_loss_);
}

void Trainer::plain_step(PhaseTimer* timer) {
  RandomStream random(config_.seed, static_cast<std::uint64_t>(step_) + 1);  // step 0: initialisation
  for (std::int64_t micro = 0; micro < config_.training.accumulate; ++micro)
    micro_step(micro, load_batch(timer), random, timer);
  UpdateGuard guard;
  {
    const PhaseScope scope(timer, Phase::optimizer);
    const OpScope op("optimizer");
    guard = guard_.inspect(parameters_, step_loss_);
  }
  const bool grown = grow_if_due(timer);
  const PhaseScope scope(timer, Phase::optimizer);
  const OpScope op("optimizer");
  update(guard, grown);
}

void Trainer::captured_step(PhaseTimer* timer) {
  for (std::int64_t micro = 0; micro < config_.training.accumulate; ++micro) graph_->load(micro, load_batch(timer));
  const PhaseScope scope(timer, Phase::graph);
  graph_->set_step(static_cast<std::uint64_t>(step_) + 1);
  // Names nothing but members: a recording outlives this call.
  const auto work = [this] {
    for (Parameter* p : parameters_) p->var().clear_grad();  // a refused capture may have left some
    RandomStream random = graph_->random(config_.seed);
    for (std::int64_t micro = 0; micro < config_.training.accumulate; ++micro)
      micro_step(micro, graph_->batch(micro), random, nullptr);
    const OpScope op("optimizer");
    update(guard_.inspect(parameters_, step_loss_), false);
  };
  graph_->run(work, parameters_);
}

void Trainer::advance(PhaseTimer* timer) {
  prune(timer);
  optimizer_->prepare(lr(step_), step_, step_loss_);
  // Growth reads the device in the middle of a step, and changes patterns.
  const bool growth = pruner_ && pruner_->growth_due(step_);
  if (graph_ && growth) graph_->invalidate();
  if (graph_ && !growth)
    captured_step(timer);
  else
    plain_step(timer);
  ++interval_steps_;
  ++step_;
}

IntervalMetrics Trainer::read_metrics() {
  IntervalMetrics metrics;
  metrics.mean_loss = interval_steps_ > 0 ? loss_sum_.item() / static_cast<double>(interval_steps_) : 0.0;
  metrics.gradient_norm = guard_.norm();
  metrics.diverged = guard_.diverged();
  loss_sum_.zero();
  interval_steps_ = 0;
  return metrics;
}

Evaluation Trainer::evaluate(const Dataset& dataset, std::int64_t max_batches, const std::atomic<int>* stop) {
  const AveragedWeights averaged(parameters_);
  const TrainingConfig& t = config_.training;
  return lacuna::evaluate(model_, dataset, t.eval_batch_size > 0 ? t.eval_batch_size : t.batch_size, device_,
                          max_batches, stop, t.precision);
}

Evaluation evaluate(Module& model, const Dataset& dataset, std::int64_t batch_size, Device device,
                    std::int64_t max_batches, const std::atomic<int>* stop, TrainingPrecision precision) {
  const Predict forward = [&](const Tensor& inputs) {
    ForwardContext context{.bf16 = precision == TrainingPrecision::bf16};
    return model.forward(Var(inputs), context).data();
  };
  return evaluate(forward, dataset, batch_size, device, max_batches, stop);
}

Evaluation evaluate(const Predict& predict, const Dataset& dataset, std::int64_t batch_size, Device device,
                    std::int64_t max_batches, const std::atomic<int>* stop) {
  const OpScope op("evaluate");
  Uploader uploader(device);
  std::vector<Tensor> losses, correct;  // read once, at the end: the host runs ahead
  std::vector<std::int64_t> counts;     // of targets
  const std::int64_t n = dataset.num_examples();
  for (std::int64_t begin = 0; begin < n; begin += batch_size) {
    if (max_batches > 0 && static_cast<std::int64_t>(counts.size()) == max_batches) break;
    if (stop && stop->load() != 0) {
      Evaluation stopped;
      stopped.complete = false;
      return stopped;
    }
    std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min(batch_size, n - begin)));
    std::iota(indices.begin(), indices.end(), begin);
    const Batch batch = dataset.batch(indices, AugmentKey{});
    const Tensor targets = uploader.upload(batch.targets);
    const Tensor logits = predict(uploader.upload(batch.inputs));
    losses.push_back(cross_entropy(logits, targets));
    correct.push_back(count_correct(logits, targets));
    counts.push_back(count_targets(batch.targets));
  }
  Evaluation result;
  double right = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;  // nothing but padding: its mean loss is 0 / 0
    result.loss += losses[i].item() * static_cast<double>(counts[i]);
    right += correct[i].item();
    result.num_targets += counts[i];
  }
  if (result.num_targets == 0) throw DataError("evaluate", dataset.description() + "; must hold at least one target");
  result.loss /= static_cast<double>(result.num_targets);
  result.accuracy = right / static_cast<double>(result.num_targets);
  return result;
}

}  // namespace lacuna
