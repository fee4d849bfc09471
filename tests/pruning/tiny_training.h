// A tiny network trained under a pruner, as the trainer does it, and what must hold between any two steps.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/ops/densify.h"
#include "core/random.h"
#include "pruning/pruner.h"
#include "tests/train/two_layer_network.h"

namespace lacuna {

/// linear [hidden, inputs] - relu - linear [classes, hidden], both weights prunable, under SGD with momentum or Adam.
struct TinyTraining {
  TinyTraining(const PruningConfig& config, std::int64_t inputs, std::int64_t hidden, std::int64_t classes,
               std::uint64_t seed, const OptimizerConfig& optimizer_config = AdamConfig{.lr = 3e-3},
               DType dtype = DType::f32, Device device = kCpu)
      : inputs_(inputs),
        classes_(classes),
        seed_(seed),
        dtype_(dtype),
        device_(device),
        network(normal({hidden, inputs}, 0.4, 1), normal({hidden}, 0.1, 2), normal({classes, hidden}, 0.4, 3),
                normal({classes}, 0.1, 4)),
        optimizer(make_optimizer(optimizer_config)),
        guard(0.0, dtype, device) {
    for (const std::size_t i : {0, 2}) network.parameters[i]->prunable = true;
    pruner = std::make_unique<Pruner>(config, network.parameters, seed);
  }

  /// One step of the trainer's kind: score, prune, forward and backward, grow or update.
  void step(std::int64_t t) {
    for (std::int64_t i = 0, n = pruner->score_batches(t); i < n; ++i) backward_pass(t + i);
    pruner->step(t);
    if (after_pruning) after_pruning();
    for (Parameter* p : network.parameters) p->var().clear_grad();
    loss = backward_pass(t);
    const UpdateInputs update{optimizer->peak_lr(), t,
                              guard.inspect(network.parameters, Tensor::zeros({}, dtype_, device_))};
    if (!pruner->after_backward(t))
      for (Parameter* p : network.parameters) optimizer->update(*p, update);
    if (after_update) after_update();
    for (Parameter* p : network.parameters) p->var().clear_grad();
  }

  double backward_pass(std::int64_t t) {
    const Tensor x = random_normal({inputs_, 8}, 0, 1, {seed_ + 77, static_cast<std::uint64_t>(t)}, dtype_, device_);
    std::vector<std::int32_t> y;
    for (std::uint64_t i = 0; i < 8; ++i)
      y.push_back(static_cast<std::int32_t>(random_word({seed_ + 78, static_cast<std::uint64_t>(t)}, i) %
                                            static_cast<std::uint64_t>(classes_)));
    const ForwardContext context{.training = true};
    const auto& p = network.parameters;
    const Var hidden = multiply(*p[0], Var(x), context.use(*p[1]), Activation::relu, context);
    const Var out = cross_entropy(multiply(*p[2], hidden, context.use(*p[3]), Activation::none, context),
                                  Tensor::from(y, {8}, device_));
    backward(out);
    return out.data().item();
  }

 private:
  Tensor normal(const Shape& shape, double deviation, std::uint64_t sequence) const {
    return random_normal(shape, 0, deviation, {seed_, sequence}, dtype_, device_);
  }
  std::int64_t inputs_, classes_;
  std::uint64_t seed_;
  DType dtype_;
  Device device_;

 public:
  TwoLayerNetwork network;
  std::unique_ptr<Optimizer> optimizer;
  GradientGuard guard;
  std::unique_ptr<Pruner> pruner;
  std::function<void()> after_pruning;  ///< between the pruner's step and the forward pass
  std::function<void()> after_update;   ///< sees gradients too
  double loss = 0;
};

inline bool same_bits(const TinyTraining& a, const TinyTraining& b) {
  for (std::size_t i = 0; i < a.network.parameters.size(); ++i) {
    const Parameter &p = *a.network.parameters[i], &q = *b.network.parameters[i];
    if (p.is_sparse() != q.is_sparse() ||
        p.value().to(DType::f64).to_vector<double>() != q.value().to(DType::f64).to_vector<double>())
      return false;
    if (p.is_sparse() && !p.topology()->same_pattern(*q.topology())) return false;
  }
  return true;
}

/// Every array is as long as its pattern: there is no place for anything outside it. Returns how many gradients were seen.
inline int expect_pattern_everywhere(const TinyTraining& training) {
  int gradients = 0;
  for (const Parameter* p : training.network.parameters) {
    const std::int64_t n = p->is_sparse() ? p->topology()->nnz() : p->shape().numel();
    EXPECT_EQ(p->value().numel(), n);
    if (p->grad().defined()) {
      EXPECT_EQ(p->grad().numel(), n);
      ++gradients;
    }
    for (const auto& [name, slot] : p->slots()) EXPECT_EQ(slot.numel(), n) << name;
  }
  return gradients;
}

/// Dense copies of value and slots, and the pattern itself (1 where an entry is stored).
inline std::map<std::string, std::vector<float>> dense_state(const Parameter& p) {
  std::map<std::string, std::vector<float>> state;
  const auto dense = [&](const Tensor& t) {
    return (p.is_sparse() ? densify(SparseTensor{t, p.topology()}) : t).to_vector<float>();
  };
  state["value"] = dense(p.value());
  for (const auto& [name, slot] : p.slots()) state[name] = dense(slot);
  state["pattern"] =
      p.is_sparse() ? densify(SparseTensor{Tensor::full({p.nnz()}, 1, DType::f32), p.topology()}).to_vector<float>()
                    : std::vector<float>(static_cast<std::size_t>(p.nnz()), 1.0f);
  return state;
}

}  // namespace lacuna
