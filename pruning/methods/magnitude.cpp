// magnitude: gradual magnitude pruning (Zhu & Gupta 2017): at each update the smallest weights go, until the schedule's
// sparsity is met. What is gone is stored no more, so it cannot come back.
#include "pruning/method.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

class Magnitude : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t step, RandomStream&) const override {
    prune_group(group, target_sparsity(group.config, step), magnitude_score());
  }
};

}  // namespace

std::unique_ptr<Method> make_magnitude() { return std::make_unique<Magnitude>(); }

}  // namespace lacuna
