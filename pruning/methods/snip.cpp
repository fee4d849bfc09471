// snip: Lee et al., "SNIP" (ICLR 2019): before training, connections stay by |w dL/dw| on one batch or a few. Its gradient is
// that of the dense network, once, before there is any optimizer state.
#include "pruning/method.h"

namespace lacuna {
namespace {

class Snip : public Method {
 public:
  std::int64_t score_batches(const PruningGroup& group) const override { return group.config.score_batches; }
  void before_forward(PruningGroup& group, std::int64_t, RandomStream&) const override {
    prune_group(group, group.config.sparsity, sensitivity_score());
  }
};

}  // namespace

std::unique_ptr<Method> make_snip() { return std::make_unique<Snip>(); }

}  // namespace lacuna
