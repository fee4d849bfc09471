#include "core/recompute.h"

#include <utility>

namespace lacuna {
namespace {

constexpr const char* kOp = "recompute";

/// What is needed to run fn once more, beside fn.
struct Kept {
  explicit Kept(const std::vector<Var>& vars) {
    for (const Var& input : vars) {
      inputs.push_back(input.defined() ? input.data() : Tensor());
      wants.push_back(input.requires_grad());
    }
  }

  /// The inputs as leaves, so that fn's tape ends at them.
  std::vector<Var> leaves() const {
    std::vector<Var> result;
    for (std::size_t i = 0; i < inputs.size(); ++i)
      result.push_back(inputs[i].defined() ? Var(inputs[i], wants[i]) : Var());
    return result;
  }

  std::vector<Tensor> inputs;
  std::vector<bool> wants;  // a gradient
};

/// fn's own leaves want gradients even where no input does, and the tape cannot see them: an edge to a leaf of no one's
/// keeps the node on it.
std::vector<Var> edges(std::vector<Var> inputs) {
  inputs.push_back(Var(Tensor(), true));
  return inputs;
}

void hand_on(const std::vector<Var>& leaves, Grads& grads) {
  for (std::size_t i = 0; i < leaves.size(); ++i) {
    if (!leaves[i].requires_grad() || !leaves[i].grad().defined()) continue;
    Tensor gradient = leaves[i].grad();
    leaves[i].clear_grad();  // one holder fewer: what follows may be added to it in place
    grads.add(i, std::move(gradient));
  }
}

/// backward() from two roots, either of which may have no gradient, or want none: outside both seem to.
void backward(const VarPair& roots, const Tensor& dfirst, const Tensor& dsecond) {
  const Var first = dfirst.defined() ? roots.first : Var(), second = dsecond.defined() ? roots.second : Var();
  if (!first.requires_grad() && !second.requires_grad()) return;
  const Tensor& some = dfirst.defined() ? dfirst : dsecond;
  const Tensor token = Tensor::empty({0}, some.dtype(), some.device());
  const Var joint = record(kOp, token, {first, second}, [dfirst, dsecond](const Tensor&, Grads& grads) {
    grads.add(0, dfirst);
    grads.add(1, dsecond);
  });
  backward(joint, token);
}

}  // namespace

Var recompute(const std::vector<Var>& inputs, RecomputedFunction fn) {
  const Kept kept(inputs);
  Tensor value;
  {
    const Var out = fn(kept.leaves(), false);
    if (!out.requires_grad()) return out;
    value = out.data();
  }  // the first run's tape ends here
  return record(kOp, std::move(value), edges(inputs), [kept, fn = std::move(fn)](const Tensor& dout, Grads& grads) {
    const std::vector<Var> leaves = kept.leaves();
    backward(fn(leaves, true), dout);
    hand_on(leaves, grads);
  });
}

VarPair recompute_pair(const std::vector<Var>& inputs, RecomputedPair fn) {
  const Kept kept(inputs);
  Tensor first, second;
  {
    const VarPair out = fn(kept.leaves(), false);
    if (!out.first.requires_grad() && !out.second.requires_grad()) return out;
    first = out.first.data();
    second = out.second.data();
  }
  return record_pair(kOp, std::move(first), std::move(second), edges(inputs),
                     [kept, fn = std::move(fn)](const Tensor& dfirst, const Tensor& dsecond, Grads& grads) {
                       const std::vector<Var> leaves = kept.leaves();
                       backward(fn(leaves, true), dfirst, dsecond);
                       hand_on(leaves, grads);
                     });
}

}  // namespace lacuna
