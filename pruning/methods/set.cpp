// set: sparse evolutionary training (Mocanu et al. 2018): at each update the smallest weights go and as many random
// connections come, among those that are then absent (what was just dropped included; drawn again, it keeps its value).
#include "pruning/growth.h"
#include "pruning/method.h"

namespace lacuna {
namespace {

class Set : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t step, RandomStream& random) const override {
    if (step == 0) return start_sparse(group, random);
    for (PruningTarget& target : group.targets) {
      Parameter& p = *target.parameter;
      if (!p.is_sparse()) continue;  // a warm start or a layer that was left dense: nothing can grow
      std::int64_t dropped = 0;
      const TopologyPtr kept = drop_smallest(group, p, step, dropped);
      const std::int64_t count = group.granularity.is_n_m() ? group.granularity.n : dropped;
      p.retopologize(grow(kept, count, group.granularity,
                          random_scores(random, p.shape()[1], p.value().dtype(), p.value().device())));
    }
  }
};

}  // namespace

std::unique_ptr<Method> make_set() { return std::make_unique<Set>(); }

}  // namespace lacuna
