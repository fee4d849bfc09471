// rigl: Evci et al., "Rigging the Lottery" (2020), algorithm 1: at an update the smallest weights go, and of the connections
// that are then inactive those with the largest gradient come, at 0. The update takes the place of the optimizer's step.
// What is dropped may grow again in the same update; it then keeps value and optimizer state, as in the authors' code.
#include "pruning/growth.h"
#include "pruning/method.h"

namespace lacuna {
namespace {

class RigL : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t step, RandomStream& random) const override {
    if (step == 0) start_sparse(group, random);
  }
  bool grows_by_gradient(const PruningGroup&, std::int64_t step) const override { return step > 0; }
  void after_backward(PruningGroup& group, std::int64_t step) const override {
    for (PruningTarget& target : group.targets) {
      Parameter& p = *target.parameter;
      if (!p.is_sparse() || !p.gradient_pairs) continue;
      const std::shared_ptr<GradientPairs> pairs = std::move(p.gradient_pairs);  // freed layer by layer
      std::int64_t dropped = 0;
      const TopologyPtr kept = drop_smallest(group, p, step, dropped);
      const std::int64_t count = group.granularity.is_n_m() ? group.granularity.n : dropped;
      p.retopologize(grow(kept, count, group.granularity, gradient_scores(*pairs)));
    }
  }
};

}  // namespace

std::unique_ptr<Method> make_rigl() { return std::make_unique<RigL>(); }

}  // namespace lacuna
