// static: a pattern that is fixed before training, random or given. The baseline of every dynamic method.
#include "pruning/method.h"

namespace lacuna {
namespace {

class Static : public Method {
 public:
  void before_forward(PruningGroup& group, std::int64_t, RandomStream& random) const override {
    start_sparse(group, random);
  }
};

}  // namespace

std::unique_ptr<Method> make_static() { return std::make_unique<Static>(); }

}  // namespace lacuna
