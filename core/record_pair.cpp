#include "core/record_pair.h"

namespace lacuna {

namespace {

struct Arrived {
  Tensor first, second;
};

}  // namespace

// The tape's nodes have one result. So the op is a node whose result is an empty token, and each true result is a node
// upon it that puts its gradient aside. backward() takes a node after all that use it: both have arrived by then.
VarPair record_pair(const char* op, Tensor first, Tensor second, std::vector<Var> inputs, PairVjp vjp) {
  const auto arrived = std::make_shared<Arrived>();
  const Tensor token = Tensor::empty({0}, first.dtype(), first.device());
  const Var joint = record(op, token, std::move(inputs), [arrived, vjp = std::move(vjp)](const Tensor&, Grads& grads) {
    const Arrived gradients = std::move(*arrived);
    *arrived = {};
    vjp(gradients.first, gradients.second, grads);
  });
  const auto result = [&](Tensor value, Tensor Arrived::*slot) {
    return record(op, std::move(value), {joint}, [arrived, slot, token](const Tensor& gradient, Grads& grads) {
      (*arrived).*slot = gradient;
      grads.add(0, token);
    });
  };
  return {result(std::move(first), &Arrived::first), result(std::move(second), &Arrived::second)};
}

}  // namespace lacuna
