#include "core/record_pair.h"

#include <utility>

namespace lacuna {

// The tape's nodes have one result. So the op is a node whose result is an empty token, and each true result is a node
// upon it that puts its gradient aside. backward() takes a node after all that use it: all have arrived by then.
std::vector<Var> record_many(const char* op, std::vector<Tensor> results, std::vector<Var> inputs, ManyVjp vjp) {
  const auto arrived = std::make_shared<std::vector<Tensor>>(results.size());
  const Tensor token = Tensor::empty({0}, results.front().dtype(), results.front().device());
  const Var joint = record(op, token, std::move(inputs), [arrived, vjp = std::move(vjp)](const Tensor&, Grads& grads) {
    std::vector<Tensor> gradients(arrived->size());
    gradients.swap(*arrived);
    vjp(gradients, grads);
  });
  std::vector<Var> vars;
  for (std::size_t i = 0; i < results.size(); ++i) {
    vars.push_back(
        record(op, std::move(results[i]), {joint}, [arrived, i, token](const Tensor& gradient, Grads& grads) {
          (*arrived)[i] = gradient;
          grads.add(0, token);
        }));
  }
  return vars;
}

VarPair record_pair(const char* op, Tensor first, Tensor second, std::vector<Var> inputs, PairVjp vjp) {
  const std::vector<Var> both = record_many(op, {std::move(first), std::move(second)}, std::move(inputs),
                                            [vjp = std::move(vjp)](std::vector<Tensor>& gradients, Grads& grads) {
                                              const Tensor dfirst = std::move(gradients[0]),
                                                           dsecond = std::move(gradients[1]);
                                              vjp(dfirst, dsecond, grads);
                                            });
  return {both[0], both[1]};
}

}  // namespace lacuna
