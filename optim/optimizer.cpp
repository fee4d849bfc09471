#include "optim/optimizer.h"

#include "core/ops/reduce.h"
#include "optim/adafactor.h"

namespace lacuna {
namespace {

// The slot of that name, created as zeros; `created` says which.
Tensor slot(Parameter& parameter, const char* name, bool* created = nullptr) {
  Tensor& tensor = parameter.slots()[name];
  if (created) *created = !tensor.defined();
  if (!tensor.defined()) tensor = Tensor::zeros_like(parameter.value());
  return tensor;
}

class Sgd : public Optimizer {
 public:
  explicit Sgd(const SgdConfig& config) : config_(config) {}

  void update(Parameter& p, const UpdateInputs& in) const override {
    if (!p.grad().defined()) return;
    SgdStep step{in.lr, config_.momentum, config_.dampening, p.decay ? config_.weight_decay : 0.0, config_.nesterov,
                 false};
    Tensor momentum;
    if (config_.momentum != 0) momentum = slot(p, "momentum", &step.first);
    sgd_update(p.value(), p.grad(), momentum, step, in.guard);
  }
  void prepare(double lr, std::int64_t, const Tensor& like) override {
    if (!rules_.defined()) rules_ = update_rules(like.device());
    store_rules(rules_, like.dtype(),
                SgdStep{lr, config_.momentum, config_.dampening, config_.weight_decay, config_.nesterov, false});
  }
  void update_all(const std::vector<Parameter*>& parameters, const UpdateGuard& guard) override {
    std::vector<UpdateItem> items;
    for (Parameter* p : parameters) {
      if (!p->grad().defined()) continue;
      UpdateItem item{p->value(), p->grad()};
      item.decays = p->decay;
      if (config_.momentum != 0) item.first = slot(*p, "momentum", &item.fresh);
      items.push_back(item);
    }
    sgd_update_all(items, rules_, guard);
  }
  bool can_be_captured() const override { return true; }
  double peak_lr() const override { return config_.lr; }
  std::int64_t state_numel(const Parameter& p) const override { return num_slots() * p.nnz(); }
  int num_slots() const override { return config_.momentum != 0 ? 1 : 0; }

 private:
  SgdConfig config_;
  Tensor rules_;
};

template <class Config, bool kDecoupled>
class AdamLike : public Optimizer {
 public:
  explicit AdamLike(const Config& config) : config_(config) {}

  void update(Parameter& p, const UpdateInputs& in) const override {
    if (!p.grad().defined()) return;
    const AdamStep step{in.lr,      config_.beta1, config_.beta2, config_.eps, p.decay ? config_.weight_decay : 0.0,
                        kDecoupled, in.step + 1};
    adam_update(p.value(), p.grad(), slot(p, "adam_m"), slot(p, "adam_v"), step, in.guard);
  }
  void prepare(double lr, std::int64_t step, const Tensor& like) override {
    if (!rules_.defined()) rules_ = update_rules(like.device());
    store_rules(rules_, like.dtype(),
                AdamStep{lr, config_.beta1, config_.beta2, config_.eps, config_.weight_decay, kDecoupled, step + 1});
  }
  void update_all(const std::vector<Parameter*>& parameters, const UpdateGuard& guard) override {
    std::vector<UpdateItem> items;
    for (Parameter* p : parameters)
      if (p->grad().defined())
        items.push_back({p->value(), p->grad(), slot(*p, "adam_m"), slot(*p, "adam_v"), p->decay});
    adam_update_all(items, rules_, guard);
  }
  bool can_be_captured() const override { return true; }
  double peak_lr() const override { return config_.lr; }
  std::int64_t state_numel(const Parameter& p) const override { return num_slots() * p.nnz(); }
  int num_slots() const override { return 2; }

 private:
  Config config_;
  Tensor rules_;
};

std::unique_ptr<Optimizer> make(const SgdConfig& c) { return std::make_unique<Sgd>(c); }
std::unique_ptr<Optimizer> make(const AdamConfig& c) { return std::make_unique<AdamLike<AdamConfig, false>>(c); }
std::unique_ptr<Optimizer> make(const AdamWConfig& c) { return std::make_unique<AdamLike<AdamWConfig, true>>(c); }
std::unique_ptr<Optimizer> make(const AdafactorConfig& c) { return std::make_unique<Adafactor>(c); }

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(const OptimizerConfig& config) {
  return std::visit([](const auto& c) { return make(c); }, config);
}

void Optimizer::prepare(double lr, std::int64_t step, const Tensor&) { prepared_ = {lr, step, {}}; }

void Optimizer::update_all(const std::vector<Parameter*>& parameters, const UpdateGuard& guard) {
  for (Parameter* p : parameters) update(*p, {prepared_.lr, prepared_.step, guard});
}

GradientGuard::GradientGuard(double max_norm, DType dtype, Device device)
    : max_norm_(max_norm),
      norm_(Tensor::zeros({}, dtype, device)),
      factor_(Tensor::full({}, 1.0, DType::f32, device)),
      bad_(Tensor::zeros({}, DType::i32, device)),
      num_good_(Tensor::zeros({}, DType::i32, device)) {}

UpdateGuard GradientGuard::inspect(const std::vector<Parameter*>& parameters, const Tensor& loss) {
  std::vector<Tensor> gradients;
  for (const Parameter* p : parameters)
    if (p->grad().defined() && p->grad().numel() > 0) gradients.push_back(p->grad());
  flag_not_finite(loss, bad_);
  // A step without gradients is counted too; its norm is 0.
  const Tensor squares = gradients.empty() ? Tensor::zeros({}, norm_.dtype(), norm_.device()) : sum_of_squares(gradients);
  clip_factor(squares, max_norm_, norm_, factor_, bad_, num_good_);
  return {factor_, bad_};
}

void update_ema(const std::vector<Parameter*>& parameters, double decay, const UpdateGuard& guard) {
  std::vector<UpdateItem> items;
  for (Parameter* p : parameters) {
    Tensor& ema = p->slots()["ema"];
    if (ema.defined())
      items.push_back({ema, p->value()});
    else
      ema = p->value().clone();
  }
  ema_update_all(items, decay, guard);
}

}  // namespace lacuna
