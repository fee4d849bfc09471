// acdc: alternating compressed / decompressed training (Peste et al., "AC/DC", NeurIPS 2021, algorithm 1): dense phases and
// sparse ones in turn, the last one sparse. A compressed phase keeps the largest weights of the dense one before it and is
// stored sparse; a dense phase begins with the absent weights, and their optimizer state, at 0.
#include "pruning/method.h"
#include "pruning/sparsity_schedule.h"

namespace lacuna {
namespace {

class AcDc : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t step, RandomStream&) const override {
    if (is_compressed(group.config, step)) return prune_group(group, group.config.sparsity, magnitude_score());
    for (PruningTarget& target : group.targets) target.parameter->retopologize(nullptr);
  }
};

}  // namespace

std::unique_ptr<Method> make_acdc() { return std::make_unique<AcDc>(); }

}  // namespace lacuna
