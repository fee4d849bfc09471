// A two-layer network, linear - relu - linear under cross entropy, and one training step of it, as the trainer does it.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/ops/cross_entropy.h"
#include "core/ops/densify.h"
#include "layers/multiply.h"
#include "optim/lr_schedule.h"
#include "optim/optimizer.h"

namespace lacuna {

struct TwoLayerNetwork {
  /// weight1 [hidden, inputs], bias1 [hidden], weight2 [classes, hidden], bias2 [classes]
  TwoLayerNetwork(const Tensor& weight1, const Tensor& bias1, const Tensor& weight2, const Tensor& bias2) {
    for (const Tensor& value : {weight1, bias1, weight2, bias2})
      owned.push_back(std::make_unique<Parameter>(std::to_string(owned.size()), value.clone()));
    for (const auto& parameter : owned) parameters.push_back(parameter.get());
    for (Parameter* p : parameters) p->decay = p->shape().rank() == 2;
  }

  /// Keeps the entries of parameter `index` whose byte in `mask`, u8 of its shape, is not 0.
  void make_sparse(std::size_t index, const Tensor& mask) {
    const TopologyPtr topology = Topology::from_mask(mask.to(parameters[index]->value().device()));
    parameters[index]->retopologize(topology);
  }

  void to(Device device) {
    for (Parameter* p : parameters) p->to(device);
  }

  /// x [inputs, n], targets i32 [n]; returns the loss before the update.
  double step(const Tensor& x, const Tensor& targets, const Optimizer& optimizer, double lr, std::int64_t index, GradientGuard& guard) {
    const ForwardContext context{.training = true};
    const Var hidden = multiply(*parameters[0], Var(x), context.use(*parameters[1]), Activation::relu, context);
    const Var loss = cross_entropy(multiply(*parameters[2], hidden, context.use(*parameters[3]), Activation::none, context), targets);
    backward(loss);
    const UpdateInputs inputs{lr, index, guard.inspect(parameters, loss.data())};
    for (Parameter* p : parameters) optimizer.update(*p, inputs);
    for (Parameter* p : parameters) p->var().clear_grad();
    return loss.data().item();
  }

  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<Parameter*> parameters;
};

}  // namespace lacuna
