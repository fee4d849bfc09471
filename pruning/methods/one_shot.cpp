// one_shot: the smallest weights go at once, before step begin_step (Han et al. 2015, without iterations).
#include "pruning/method.h"

namespace lacuna {
namespace {

class OneShot : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t, RandomStream&) const override {
    prune_group(group, group.config.sparsity, magnitude_score());
  }
};

}  // namespace

std::unique_ptr<Method> make_one_shot() { return std::make_unique<OneShot>(); }

}  // namespace lacuna
