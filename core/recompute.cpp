#include "core/recompute.h"

#include <utility>

namespace lacuna {
namespace {

/// What is needed to run fn once more.
struct Kept {
  std::vector<Tensor> inputs;
  std::vector<bool> wants;  // a gradient
  RecomputedFunction fn;

  /// The inputs as leaves, so that fn's tape ends at them.
  std::vector<Var> leaves() const {
    std::vector<Var> result;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      result.push_back(inputs[i].defined() ? Var(inputs[i], wants[i]) : Var());
    return result;
  }
};

}  // namespace

Var recompute(const std::vector<Var>& inputs, RecomputedFunction fn) {
  Kept kept{{}, {}, std::move(fn)};
  for (const Var& input : inputs) {
    kept.inputs.push_back(input.defined() ? input.data() : Tensor());
    kept.wants.push_back(input.requires_grad());
  }
  Tensor value;
  {
    const Var out = kept.fn(kept.leaves(), false);
    if (!out.requires_grad()) return out;
    value = out.data();
  }  // the first run's tape ends here
  std::vector<Var> edges = inputs;
  // fn's own leaves want gradients even where no input does, and the tape cannot see them: an edge to a leaf of no one's
  // keeps the node on it.
  edges.push_back(Var(Tensor(), true));
  return record("recompute", std::move(value), std::move(edges),
                [kept = std::move(kept)](const Tensor& dout, Grads& grads) {
                  const std::vector<Var> leaves = kept.leaves();
                  backward(kept.fn(leaves, true), dout);
                  for (std::size_t i = 0; i < leaves.size(); ++i) {
                    if (!leaves[i].requires_grad() || !leaves[i].grad().defined()) continue;
                    Tensor gradient = leaves[i].grad();
                    leaves[i].clear_grad();  // one holder fewer: what follows may be added to it in place
                    grads.add(i, std::move(gradient));
                  }
                });
}

}  // namespace lacuna
