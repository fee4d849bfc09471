// random: as magnitude, with random scores: what a schedule gives without a criterion.
#include "pruning/method.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

class Random : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t step, RandomStream& random) const override {
    prune_group(group, target_sparsity(group.config, step), random_score(random));
  }
};

}  // namespace

std::unique_ptr<Method> make_random() { return std::make_unique<Random>(); }

}  // namespace lacuna
